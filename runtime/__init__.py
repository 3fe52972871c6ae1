"""Giving a graph numbers: sessions, kernels, statistics, calibrators."""
