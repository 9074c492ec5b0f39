"""`strongroom recover`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from strongroom.errors import BadValue, Incomplete
from web import recovering, recovery_finds
from web.output import Screen
from web.session import common

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.option("--from-buckets", is_flag=True, required=True, help="There is no other source yet.")
@click.option(
    "--region", "regions", multiple=True, required=True, metavar="NAME=URL", help="With its bucket."
)
@click.option(
    "--region-keys",
    type=FILE,
    help='JSON: {"NAME": {"access_key": "…", "secret_key": "…"}}; else STRONGROOM_REGIONS(_FILE).',
)
@click.option("--share", "shares", multiple=True, type=FILE, help="Of the escrow key.")
@click.option("--key-store", type=FOLDER, help="A backup of the key store.")
@click.option("--trust", metavar="KEY", help="The records key, where no share says it.")
@click.option(
    "--record-key-to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Without --home: put the key that signs records there.",
)
@click.option("--dry-run", is_flag=True, help="Look, and say what would be done.")
@common
def recover(
    from_buckets: bool,
    regions: tuple[str, ...],
    region_keys: Path | None,
    shares: tuple[Path, ...],
    key_store: Path | None,
    trust: str | None,
    record_key_to: Path | None,
    dry_run: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """An empty machine back to a working platform, from the buckets and what opens them.

    Without --home into the empty database that STRONGROOM_DATABASE_URL_* name, with their key store.
    Killed, it is run again and ends the same. Exit 3 if something is missing; the report says what.

    Example: strongroom recover --from-buckets --region a=https://s3.example.net/vault
    --region-keys keys.json --share 1.txt --share 2.txt --share 3.txt --home var/strongroom
    """
    screen = Screen(as_json)
    wanted = recovery_finds.Wanted(
        regions=dict(_pair(each) for each in regions),
        credentials=recovery_finds.credentials_in(_keys(region_keys)),
        shares=shares,
        key_store=key_store,
        trust=trust,
        home=home,
        record_key_to=record_key_to,
        dry_run=dry_run,
    )
    report = recovering.recover(wanted, say=screen.say)
    screen.give(report.to_json(), text=_text(report))
    if not report.complete:
        click.get_current_context().exit(Incomplete.exit_code)


def _pair(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    if not name or not address:
        raise BadValue(f"Wanted --region NAME=URL, found {text!r}.")
    return name, address


def _keys(file: Path | None) -> str:
    if file is not None:
        return file.read_text(encoding="utf-8")
    if "STRONGROOM_REGIONS_FILE" in os.environ:
        return Path(os.environ["STRONGROOM_REGIONS_FILE"]).read_text(encoding="utf-8")
    return os.environ.get("STRONGROOM_REGIONS", "")


def _text(report: recovering.Report) -> str:
    head = "Would recover" if report.dry_run else "Recovered"
    if report.already:
        head = "Recovered earlier, nothing was done now"
    counts = f"{report.tenants} tenants, {report.repositories} repositories, "
    counts += f"{report.points_known} points, {report.points_adopted} of them made since the dump."
    by = (report.opened_by_key_store, report.opened_by_escrow)
    lines = [
        f"{head}: {counts}",
        f"  dump:                {report.dump or 'none; built from the records alone'}",
        f"  tenants rebuilt:     {', '.join(report.rebuilt) or 'none'}",
        f"  stay destroyed:      {', '.join(report.buried) or 'none'}",
        f"  repositories since:  {report.founded_since}",
        f"  copies since:        {report.copies_adopted}",
        f"  points gone since:   {report.points_gone}",
        f"  work ended:          {report.work_ended}",
        f"  passwords opened:    {by[0]} by the key store, {by[1]} by escrow",
        f"  seconds:             {report.seconds}",
    ]
    for title, found in (
        ("does not open", report.closed),
        ("not read", report.away),
        ("snapshot of nobody", report.strangers),
        ("not believed or damaged", report.odd),
    ):
        lines += [f"  {title}: {each}" for each in found]
    if not report.dry_run:
        lines.append(
            "Nothing is removed of any tenant until a person has looked: `strongroom finding list`, "
            "then `strongroom finding accept`. Start it: `strongroom up`, or your services."
        )
    return "\n".join(lines)


COMMANDS = (recover,)
