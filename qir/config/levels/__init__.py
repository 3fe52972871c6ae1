"""`quant_config`: precisions by model, op type, subgraph and node, as users of OpenExplorer write them."""
