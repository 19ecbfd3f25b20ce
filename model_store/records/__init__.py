"""The records that the store returns: frozen, without a session."""
