"""Pictures of what the debug functions measure; matplotlib is loaded when the first one is drawn."""
