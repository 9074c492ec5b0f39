"""Who is there: accounts, what each may do, how they prove who they are, and their sessions."""
