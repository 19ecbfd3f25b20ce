"""What is loaded: the manager, its policy and its transitions, leases, aliases and readiness."""
