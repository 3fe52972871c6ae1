"""The Ascend target: what it can quantize, the deploy graph, its record and its quantization information."""
