"""What is told: the words of alerts and notices, and the watch that finds what is wrong."""
