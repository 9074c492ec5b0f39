"""`helm template` without helm: renders a chart from Python packages alone.

python -m tools.helm_template helm/strongroom -f VALUES.yaml --set web.replicas=3
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import helm_python
import yaml

Values = dict[str, Any]  # as the chart's schema has them


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("chart", type=Path)
    parser.add_argument("-f", "--values", type=Path, action="append", default=[])
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("-n", "--name", default="demo")
    options = parser.parse_args(arguments)
    values = merge(*(read(file) for file in options.values))
    values = merge(values, *(helm_python.parse_set_string(text) for text in options.set))
    try:
        print(render(options.chart, values, name=options.name), end="")
    except helm_python.HelmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def render(chart: Path, values: Values, *, name: str = "demo") -> str:
    """All documents in order of their files, hooks included. Raises HelmError, also when the
    values do not fit the schema."""
    with helm_python.Chart.load(chart) as loaded:
        files = loaded.render(values, name=name, namespace="strongroom")
    documents = [
        f"---\n# {path}\n{text.strip()}\n"
        for path, text in sorted(files.items())
        if path.endswith(".yaml") and text.strip()
    ]
    return "".join(documents)


def read(file: Path) -> Values:
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return values if isinstance(values, dict) else {}


def merge(*layers: Mapping[str, Any]) -> Values:
    """Later layers win; tables are merged, lists are replaced, as helm does."""
    merged: Values = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            both = isinstance(old, dict) and isinstance(value, dict)
            merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
