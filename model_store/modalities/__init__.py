"""What an example is, in training and in serving: input specs, and the rows that calibrate a version."""
