"""The linear probe, and its cross-validation on few rows."""
