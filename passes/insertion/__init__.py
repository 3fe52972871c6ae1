"""Parts of insert-quant: reading a value through a quant, and tensors that travel as integers."""
