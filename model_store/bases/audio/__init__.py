"""Bases for recordings: weights that ship inside packages, and input specs of networks that begin at random."""
