"""Recipes as data, and the choices that are made where a caller makes none."""
