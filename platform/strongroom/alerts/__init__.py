"""What needs an operator: opened, told, escalated, acknowledged, silenced for a while, closed."""
