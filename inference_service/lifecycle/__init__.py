"""The loaded versions: manager, policy and transitions, leases, aliases, readiness."""
