"""`strongroom failure`."""

from __future__ import annotations

from pathlib import Path

import click

from strongroom.errors import Incomplete, NotFound
from web import failures
from web.output import Screen
from web.session import common, connect, me


@click.group()
def failure() -> None:
    """Why backups fail, over all tenants."""


@failure.command("list")
@common
def list_(home: Path | None, as_json: bool) -> None:
    """Why last backups failed, by cause; those that stop most tenants first. Exit 3 if any did.

    Example: strongroom failure list
    """
    groups, taken = failures.read(connect(home))
    found = [
        {
            "cause": str(group.cause),
            "code": code,
            "tenants": failing.tenants,
            "some": list(failing.slugs),
            "as_of": taken.at,
        }
        for group in groups
        for code, failing in group.codes.items()
    ]
    Screen(as_json).table(
        found,
        ["cause", "code", "tenants", "some of them"],
        [[each["cause"], each["code"], each["tenants"], each["some"]] for each in found],
    )
    if found:
        click.get_current_context().exit(Incomplete.exit_code)


@failure.command()
@click.argument("code", metavar="CODE")
@common
def again(code: str, home: Path | None, as_json: bool) -> None:
    """Back up every tenant whose last backup failed for this reason.

    Example: strongroom failure again source-sign-in-refused
    """
    platform = connect(home)
    tried = failures.again(platform, code, by=me())
    if not tried:
        raise NotFound(
            f"No tenant's last backup failed for {code!r}, or it is being tried again already. "
            "`strongroom failure list` shows the reasons there are.",
            code="unknown-failure",
        )
    Screen(as_json).give(
        {"code": code, "tenants": tried},
        text=f"{len(tried)} backups are queued. `strongroom status` shows how they go.",
    )


COMMANDS = (failure,)
