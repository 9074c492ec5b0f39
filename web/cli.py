"""The command line: names and exit codes hold still, scripts rely on them.

Exit codes: 0 done; 1 failed; 2 wrong usage or value; 3 done in part, or needs attention;
4 refused by a guard, a hold or a missing right.

Commands are loaded when they are called, and imports stand in functions for the same reason: all
of the platform together takes a second and a half to load, a command by itself half of that, and
`--help` next to nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

# The modules of `web.commands`, their commands, and each command's line in `strongroom --help`.
COMMANDS: Mapping[str, Mapping[str, str]] = {
    "alerts": {
        "alert": "Alerts: what is wrong, one for each cause, however many tenants it concerns.",
    },
    "audit": {
        "audit": "The record: who did what, to whom, why, from where; and proof that nobody changed it.",
    },
    "backups": {
        "backup": "Make a restore point now.",
        "browse": "What lies in a folder of a point.",
        "diff": "How one point differs from another, source by source.",
        "find": "Files, folders and tables by name, over all points; * and ? stand for anything.",
        "hold": "Holds: while one stands, nothing of the tenant is removed.",
        "points": "Restore points, the newest first, with copies, proofs and expiry.",
        "retention": "Retention: what is kept, what goes, why, when.",
        "verify": "Prove copies of a point now, reading all of its region's data.",
    },
    "doctor": {
        "doctor": "Every precondition, kept or not, with the remedy.",
    },
    "drills": {
        "drill": "Rehearse a restore now: into a throw-away place, compared, timed, thrown away.",
    },
    "escrow": {
        "control": "The control database's own backups.",
        "escrow": "The second way to every backup: a key that people hold together.",
    },
    "failures": {
        "failure": "Why backups fail, over all tenants.",
    },
    "findings": {
        "finding": "Findings: what was seen and needs a person.",
    },
    "health": {
        "status": "Health in one screen.",
    },
    "keys": {
        "key": "Keys: what wraps each tenant's secrets.",
    },
    "kit": {
        "kit": "The exit kit: a tenant's backups without us.",
    },
    "notices": {
        "notice": "Messages: where operators are told, through which server, and what was sent.",
    },
    "operate": {
        "demo": "The main job from nothing to a proven restore, on three sample tenants; ends by itself.",
        "up": "The whole stack on this machine; Ctrl-C or SIGTERM stops it cleanly.",
    },
    "people": {
        "account": "Accounts: the people who sign in.",
        "grant": "Support grants: leave for one of us to look at a tenant's data, for a while.",
    },
    "plans": {
        "plan": "Plans: how often, how long, how many regions.",
    },
    "promises": {
        "promises": "Each promise of each policy pack with its state and evidence.",
    },
    "recover": {
        "recover": "An empty machine back to a working platform, from the buckets and what opens them.",
    },
    "restores": {
        "restore": "Bring a source back: beside the live data, in its place, or into a folder.",
        "restores": "Restores: what was brought back, and what is on its way.",
        "undo": "Bring back exactly the state before a restore in place.",
    },
    "schedules": {
        "schedule": "When a tenant is backed up next, and what became of the last times; `set` chooses its own times.",
    },
    "serving": {
        "migrate": "Bring the control database to this version's schema.",
        "serve": "One long-running process of the platform; the chart and `up` start them.",
    },
    "tenants": {
        "source": "Sources: what of a tenant is backed up.",
        "tenant": "Tenants: the customers whose data is kept safe.",
    },
    "undelete": {
        "region": "Regions: where copies lie.",
    },
}
WHERE = {name: module for module, names in COMMANDS.items() for name in names}


class Edge(click.Group):
    """Finds commands, and is where every error ends: as one sentence, an exit code, and with --json
    a document."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in WHERE:
            return None
        module = import_module(f"web.commands.{WHERE[cmd_name]}")
        there: dict[str, click.Command] = {each.name: each for each in module.COMMANDS}
        return there[cmd_name]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does it, without loading them."""
        rows = [(name, COMMANDS[WHERE[name]][name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(  # type: ignore[override]  # click's own has one for every mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **more: Any
    ) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name, standalone_mode=False, **more)
        except Exception as error:  # noqa: BLE001 - an edge: nobody is ever shown a traceback
            from web import failing
            from web.output import Screen

            code = failing.tell(error, Screen("--json" in words))
        sys.exit(code or 0)


@click.group(cls=Edge, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="strongroom")
@click.pass_context
def main(context: click.Context) -> None:
    """Every customer backed up, every backup proven to restore."""
    import logging

    from strongroom.audit import entries
    from strongroom.audit.leaves import Channel
    from web import logs

    entries.come_from(Channel.COMMAND)
    logs.configure(logging.INFO if context.invoked_subcommand == "serve" else logging.WARNING)


if __name__ == "__main__":
    main()
