"""What import-qdq is made of: reading QuantizeLinear and DequantizeLinear, and turning them into quants."""
