"""Every model there is, imported once, so that the schema is whole."""

import backup.catalogue
import backup.models
import backup.record_rows
import restore.delivery.models
import restore.models
import strongroom.alerts.models
import strongroom.audit.entries
import strongroom.buried
import strongroom.control_dumps
import strongroom.escrow
import strongroom.heartbeats
import strongroom.lifecycle
import strongroom.looks
import strongroom.notices.models
import strongroom.people.models
import strongroom.regions
import strongroom.secrets_at_rest
import tenants.models
import tenants.promise_rows
import web.standings
from strongroom.db import Base

METADATA = Base.metadata

__all__ = ["METADATA", "backup", "restore", "strongroom", "tenants", "web"]
