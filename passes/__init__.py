"""Changes to a graph: one pass a file, composed in pipelines."""
