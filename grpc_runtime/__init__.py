"""What both services need to be a gRPC process: settings, logs, errors on the wire, and the server's life."""
