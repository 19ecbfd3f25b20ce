"""What the store hands out: frozen records that hold no session."""
