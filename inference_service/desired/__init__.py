"""The desired versions: change feed, policies of the operator, lookups in the registry."""
