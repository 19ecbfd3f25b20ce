"""Archives of files with a target each: by the folders that they lie in, or by a file beside them."""
