"""The promise register: what was promised, what is seen of it, and what a month came to."""
