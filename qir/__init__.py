"""qir: a quantization compiler for ONNX models."""
