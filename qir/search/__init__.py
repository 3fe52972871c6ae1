"""Automatic search: which layers must stay in float to keep the accuracy that the user asked for."""
