"""The other side: restic as anybody would run it, from a shell script."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from strongroom.settings import restic_program
from strongroom.stack.seaweed import Seaweed
from strongroom.storage import Store

DAY = """
set -eu
cd "$1"
restic -r "$A" backup --quiet .
restic -r "$B" copy --quiet --from-repo "$A" --from-password-file "$RESTIC_PASSWORD_FILE"
restic -r "$A" snapshots --quiet
restic -r "$B" snapshots --quiet
restic -r "$A" forget --quiet --keep-last 3
restic -r "$B" forget --quiet --keep-last 3
"""


@dataclass(frozen=True)
class Used:
    """What a program took."""

    wall: float
    cpu: float  # user and system, of it and its children


@dataclass(frozen=True)
class Plain:
    """A repository in each region, made by `restic init`: with keys of restic's own calibration."""

    folder: Path  # password, cache, restored files
    regions: Sequence[Seaweed]
    prefix: str
    processors: int | None = None  # GOMAXPROCS; None: restic's own choice

    def address(self, number: int) -> str:
        region = self.regions[number].region
        return f"s3:{region.endpoint}/{region.bucket}/{self.prefix}{region.name}"

    def make(self) -> None:
        """The repositories; the second cuts files at the same places, so that copies share."""
        self.folder.mkdir(parents=True)
        (self.folder / "password").write_text(secrets.token_hex(32))
        self.run(["restic", "-r", self.address(0), "init"])
        if len(self.regions) > 1:
            other = ["--from-repo", self.address(0), "--copy-chunker-params"]
            other += ["--from-password-file", str(self.folder / "password")]
            self.run(["restic", "-r", self.address(1), "init", *other])

    def day(self, source: Path) -> Used:
        """Backup, copy, listing and retention, once."""
        return self.run(["sh", "-c", DAY, "day", str(source)])

    def back_up(self, source: Path, *flags: str) -> Used:
        return self.run(["restic", "-r", self.address(0), "backup", *flags, "."], folder=source)

    def restore(self, target: Path) -> None:
        """The newest snapshot, out of the last region."""
        last = self.address(len(self.regions) - 1)
        self.run(["restic", "-r", last, "restore", "latest", "--target", str(target)])

    def key(self) -> dict[str, int]:
        """What scrypt has to do to open the first repository: N, r and p."""
        region = self.regions[0]
        store = Store(region.region, region.root)
        (info,) = store.list(f"{self.prefix}{region.name}/keys/")
        found = json.loads(store.get(info.key))
        return {name: found[name] for name in ("N", "r", "p")}

    def clear(self) -> None:
        shutil.rmtree(self.folder)

    def run(self, argv: Sequence[str], *, folder: Path | None = None) -> Used:
        began = time.monotonic()
        with (self.folder / "said").open("wb") as said:
            child = subprocess.Popen(
                argv, env=self._environment(), cwd=folder, stdout=said, stderr=said
            )
            _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise RuntimeError(f"{argv}: {(self.folder / 'said').read_text()[-2000:]}")
        return Used(time.monotonic() - began, used.ru_utime + used.ru_stime)

    def _environment(self) -> Mapping[str, str]:
        root = self.regions[0].root
        program = Path(restic_program())
        made = {
            "PATH": f"{program.parent}:/usr/bin:/bin" if program.is_absolute() else "/usr/bin:/bin",
            "HOME": str(self.folder),
            "AWS_DEFAULT_REGION": self.regions[0].region.location,
            "AWS_ACCESS_KEY_ID": root.access_key,
            "AWS_SECRET_ACCESS_KEY": root.secret_key,
            "RESTIC_PASSWORD_FILE": str(self.folder / "password"),
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
            "A": self.address(0),
            "B": self.address(len(self.regions) - 1),
        }
        return made if self.processors is None else {**made, "GOMAXPROCS": str(self.processors)}
