"""AMCT's configuration files: `config.json` and the simplified `.cfg`."""
