"""Tuning: the cheapest mixture of precisions that keeps the accuracy that the user asked for."""
