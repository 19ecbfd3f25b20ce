"""What should be loaded: the change feed, the policies of the operator, and lookups in the registry."""
