"""A region's bucket below one prefix, with rights cut to one act."""

from __future__ import annotations

from strongroom.errors import BadValue
from strongroom.regions import Region
from strongroom.settings import Settings
from strongroom.storage import Act, Credentials, Store, assume

SECONDS = 3600


def root_of(settings: Settings, region: str) -> Credentials:
    """Who may assume the region's role. Raises BadValue."""
    root = settings.regions.get(region)
    if root is None:
        raise BadValue(
            f"There are no credentials for region {region} in the settings; "
            "add them to STRONGROOM_REGIONS."
        )
    return root


def store(
    settings: Settings, region: Region, *, prefix: str, act: Act, seconds: int = SECONDS
) -> Store:
    """Raises BadValue or a StorageError."""
    address = region.address()
    root = root_of(settings, region.name)
    return Store(address, assume(address, root, prefix=prefix, act=act, seconds=seconds))
