"""Classification: one label an example."""
