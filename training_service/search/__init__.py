"""Searches over recipes and hyperparameters: a driver whose trials are ordinary jobs."""
