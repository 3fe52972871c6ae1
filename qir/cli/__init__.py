"""The commands `qir` and `qir-opt`."""
