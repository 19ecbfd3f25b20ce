"""Rows of a dataset as arrays: an object for each row takes more than ten times the memory."""
