"""What can be backed up: a module for each kind of source."""
