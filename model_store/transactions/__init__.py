"""What happens inside a transaction: every function here takes its session."""
