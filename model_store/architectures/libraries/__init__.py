"""Networks that another library defines, each cut into a chain: `LIBRARY:NAME` is the name of the architecture."""
