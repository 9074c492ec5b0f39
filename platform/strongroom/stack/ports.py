"""Free loopback ports, chosen once and remembered, so that what was told to others stays true.

Ports come from below the range from which the system takes the near end of outgoing connections:
a port inside it could be in use by chance at the next start.
"""

from __future__ import annotations

import errno
import json
import random
import secrets
import socket
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from strongroom.errors import StrongroomError
from strongroom.stack import files

LOWEST, HIGHEST = 12_000, 22_000
GRPC_OFFSET = 10_000  # SeaweedFS listens there too, for each of its ports
PATIENCE = 5.0  # seconds a port may take to become free after its last owner was killed


class NoPort(StrongroomError):
    """A port could not be had."""

    code = "no-port"


class PortTaken(NoPort):
    """A port that must stay the same is in use by somebody else."""

    code = "port-taken"


@dataclass(frozen=True)
class Need:
    """Ports that one component listens on."""

    name: str  # of the component, unique in its home
    count: int = 1
    with_grpc: bool = False  # port + GRPC_OFFSET has to be free as well
    fixed: bool = False  # others have been told the port: never choose another


def choose(
    count: int,
    *,
    with_grpc: bool = False,
    taken: Collection[int] = (),
    chance: random.Random | None = None,
) -> tuple[int, ...]:
    """Distinct ports that are free now. Raises NoPort."""
    chance = chance or secrets.SystemRandom()
    found: list[int] = []
    for port in chance.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        if len(found) == count:
            break
        if port not in taken and is_free(port) and (not with_grpc or is_free(port + GRPC_OFFSET)):
            found.append(port)
    if len(found) < count:
        raise NoPort(
            f"Wanted {count} free ports on 127.0.0.1 between {LOWEST} and {HIGHEST}, found "
            f"{len(found)}. End programs that listen there and start again.",
            wanted=count,
            found=len(found),
        )
    return tuple(found)


def reserve(file: Path, need: Need) -> tuple[int, ...]:
    """The ports this file remembers for the component, chosen now if there are none.

    A taken port is replaced, unless it is fixed. Raises PortTaken, NoPort or NotStored.
    """
    remembered = _read(file)
    ports = tuple(remembered.get(need.name, ()))
    busy = _busy(ports, need) if len(ports) == need.count else None
    if busy is None and ports:
        return ports
    if busy is not None and need.fixed:
        raise _port_taken(busy, need)
    others = {port for name, some in remembered.items() if name != need.name for port in some}
    ports = choose(need.count, with_grpc=need.with_grpc, taken=others)
    files.write(file, json.dumps({**remembered, need.name: ports}, indent=1).encode())
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen there now; remains of closed connections do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
        return True


def _busy(ports: Sequence[int], need: Need) -> int | None:
    """The first port that is taken, after waiting a while for one that must stay the same."""
    wanted = [*ports, *(port + GRPC_OFFSET for port in ports if need.with_grpc)]
    deadline = time.monotonic() + (PATIENCE if need.fixed else 0.0)
    while True:
        busy = next((port for port in wanted if not is_free(port)), None)
        if busy is None or time.monotonic() >= deadline:
            return busy
        time.sleep(0.05)


def _port_taken(port: int, need: Need) -> PortTaken:
    return PortTaken(
        f"{need.name} has to listen on 127.0.0.1:{port} as before, but another program has that "
        f"port. `ss -ltnp 'sport = :{port}'` names it: end it and start again.",
        port=port,
        component=need.name,
    )


def _read(file: Path) -> dict[str, list[int]]:
    try:
        parsed = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise NoPort(
            f"{file} should remember the ports of this home, but it is damaged. Restore it, or "
            "remove it to choose ports anew.",
            path=str(file),
        ) from error
    return {str(name): [int(port) for port in some] for name, some in parsed.items()}
