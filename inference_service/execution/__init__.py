"""A batch of rows for many versions, down the tree of stages that they share."""
