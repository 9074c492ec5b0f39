"""What the platform tells Prometheus: facts out of rows, never what a process happened to count."""
