"""The fake-quant graph that ONNX Runtime runs to see the accuracy, in two forms."""
