"""Files of this machine: folders and archives of examples, and the archive of a version."""
