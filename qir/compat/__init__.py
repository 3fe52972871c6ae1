"""Packages that stand in for other quantization tools: scripts for those run after a changed import."""
