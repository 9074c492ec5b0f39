"""Every model there is, imported once, so that the schema is whole."""

import backup.catalogue
import backup.models
import backup.record_rows
import restore.delivery.models
import restore.models
import strongroom.audit.entries
import strongroom.buried
import strongroom.control_dumps
import strongroom.escrow
import strongroom.lifecycle
import strongroom.people.models
import strongroom.regions
import strongroom.secrets_at_rest
import tenants.models
import tenants.promise_rows
from strongroom.db import Base

METADATA = Base.metadata

__all__ = ["METADATA", "backup", "restore", "strongroom", "tenants"]
