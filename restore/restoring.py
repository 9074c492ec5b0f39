"""placeholder"""

from typing import Any


def carry_out(runtime: Any, tenant: Any, restore_id: Any) -> None:
    return None
