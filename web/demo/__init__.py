"""Sample tenants with believable business data in English and Arabic, for the demo and the tests.

Each module of a source offers `create`, `change_a_day` and `damage` on a psycopg connection or a
folder; `fingerprint` proves that what came back is what was there. The same seed makes the same
bytes on every machine.
"""
