"""The real components - PostgreSQL, Valkey, S3 regions - as child processes on one machine."""
