"""The record: who did what, to whom, why, from where and how it ended; nobody can change it unseen."""
