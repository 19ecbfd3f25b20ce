"""What people type: short names, numbers, options of recipes."""
