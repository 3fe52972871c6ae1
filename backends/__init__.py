"""Targets: what each can run, and how a graph becomes a file for it."""
