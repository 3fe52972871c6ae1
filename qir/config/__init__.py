"""What a user asks of quantization: by model, op type, layer and operand; its files, its passes."""
