"""Folders, archives and versions as files, and their way to the services and back."""
