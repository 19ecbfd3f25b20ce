"""Promotion of a trained version: the gate, the incumbent, and the state of the services that serve it."""
