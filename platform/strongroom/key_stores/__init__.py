"""Where KEKs live: one module for each kind of store, and `choosing` for the one that is set."""
