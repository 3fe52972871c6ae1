"""What the compatible packages share."""
