"""The database: engine, errors, keyset pages."""
