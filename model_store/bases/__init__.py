"""The bases that can be imported, and where their weights come from."""
