"""Advice on a dataset, before anything is trained: each piece names its rows."""
