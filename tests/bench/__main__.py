"""`python -m tests.bench [--quick] [--json] [--only NAME]`: measure, print, exit 1 below a bar."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time

import structlog

from tests.bench import bars
from tests.bench.stand import standing


def main() -> int:
    reader = argparse.ArgumentParser(prog="python -m tests.bench")
    reader.add_argument("--quick", action="store_true", help="fewer pairs and less data")
    reader.add_argument("--json", action="store_true", help="one JSON document")
    reader.add_argument("--only", choices=sorted(bars.ALL), action="append", help="not all of them")
    wanted = reader.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    extent = bars.QUICK if wanted.quick else bars.WHOLE
    began, found = time.monotonic(), []
    with standing() as stand:
        for name in wanted.only or bars.ALL:
            bar = bars.ALL[name](stand, extent)
            found.append(bar)
            if not wanted.json:
                print("\n".join(bars.lines(bar)), flush=True)
    document = {
        "ok": all(bar.holds is not False for bar in found),
        "quick": wanted.quick,
        "seconds": round(time.monotonic() - began, 1),
        "bars": [bar.to_json() for bar in found],
    }
    if wanted.json:
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{document['seconds']} s in all; " + ("all bars hold." if document["ok"] else "BELOW")
        )
    return 0 if document["ok"] else 1


sys.exit(main())
