"""What is told to people and to other systems: one outbox, delivered at least once."""
