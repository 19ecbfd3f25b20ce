"""The parts of a gRPC process that both services share: settings, logs, errors, start and stop."""
