"""Compares bases on a user's data before any training, and recommends one."""
