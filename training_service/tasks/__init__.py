"""What differs between tasks while a version is trained and measured: a package each."""
