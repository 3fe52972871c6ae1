"""What fold-constants is made of: shape arithmetic, bounds on size, branches that are never taken."""
