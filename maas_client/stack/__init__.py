"""The two services as child processes of a command."""
