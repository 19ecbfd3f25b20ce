"""Images: read from archives, checked, summarised, shown, augmented."""
