"""As AMCT's package `common`."""
