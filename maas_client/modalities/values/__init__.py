"""Rows of numbers: the rows of a CSV file that are examples."""
