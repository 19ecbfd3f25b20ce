"""Images: the files that are examples, and sheets of thumbnails."""
