"""maas.inference.v1: its servicer, and the conversion of its messages."""
