"""The target `qdq`: fake-quant graphs in the portable form of ONNX, for any runtime."""
