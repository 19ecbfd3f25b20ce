"""A CPU backend: stages compiled by OpenVINO, in this process and by a child process."""
