"""The command line: names and exit codes hold still, scripts rely on them.

Exit codes: 0 done; 1 failed; 2 wrong usage or value; 3 done in part, or needs attention;
4 refused by a guard, a hold or a missing right.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from strongroom.audit import entries
from strongroom.audit.leaves import Channel
from web import failing, logs
from web.commands import (
    alerts,
    audit,
    backups,
    drills,
    escrow,
    findings,
    health,
    keys,
    kit,
    notices,
    operate,
    people,
    plans,
    recover,
    regions,
    restores,
    schedules,
    tenants,
    undelete,
)
from web.output import Screen

GROUPS = (
    *(operate, health, plans, regions, tenants, schedules, backups),
    *(drills, findings, restores, keys, kit, undelete, escrow, recover, people, audit, alerts),
    notices,
)


class Edge(click.Group):
    """Where every error ends: as one sentence, an exit code, and with --json a document."""

    def main(  # type: ignore[override]  # click's own has one for every mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **more: Any
    ) -> NoReturn:
        entries.come_from(Channel.COMMAND)
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name, standalone_mode=False, **more)
        except Exception as error:  # noqa: BLE001 - an edge: nobody is ever shown a traceback
            code = failing.tell(error, Screen("--json" in words))
        sys.exit(code or 0)


@click.group(cls=Edge, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="strongroom")
@click.pass_context
def main(context: click.Context) -> None:
    """Every customer backed up, every backup proven to restore."""
    level = logging.INFO if context.invoked_subcommand == "serve" else logging.WARNING
    logs.configure(level)


for part in GROUPS:
    for command in part.COMMANDS:
        main.add_command(command)


if __name__ == "__main__":
    main()
