"""Datasets on the wire: reading requests, writing messages."""
