"""Rows of a table: named columns of numbers, dates, truth values and categories, any of which may be missing."""
