"""Streams, connections and health: what the calls of the client stand on."""
