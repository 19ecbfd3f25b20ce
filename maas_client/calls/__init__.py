"""The RPCs that people use most as plain methods, a class for each kind of resource."""
