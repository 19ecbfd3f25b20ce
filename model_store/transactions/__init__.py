"""The parts of a transaction: every function here takes its session."""
