"""Who the tenants are: plans, sources they may name, and what is in force for them."""
