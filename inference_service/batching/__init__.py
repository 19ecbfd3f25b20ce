"""Which requests share a batch, and when it runs: knows deadlines and costs, not torch."""
