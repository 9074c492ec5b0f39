"""Make restore points, bring them to every region, prove them, and let them go when they are due."""
