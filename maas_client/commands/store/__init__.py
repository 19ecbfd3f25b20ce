"""Commands of an operator on the store itself."""
