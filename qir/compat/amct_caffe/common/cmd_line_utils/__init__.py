"""As AMCT's package of this name."""
