"""What the restore page asks, answered from rows alone: no region, no key, no restic.

Every function takes a session that is bound to the tenant (role web, row-level security forced) and
begins with what was named: an id of another tenant is not found, as one that never was.
"""
