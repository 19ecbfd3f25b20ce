"""Texts as tokens: the tokenizer is a file in the store, and rows are padded to one of a few lengths."""
