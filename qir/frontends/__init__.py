"""Models of other tools to the IR, and back."""
