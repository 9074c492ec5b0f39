"""An outline of what each example makes, kept beside the tests: a change of it is seen in review.

To accept a change: UPDATE_GOLDEN=1 make chart
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import helm_template
from tools.chart_check import CHART, examples

GOLDEN = Path(__file__).parent / "golden"


def outline(documents: list[dict[str, Any]]) -> str:
    """A line per object, and for pods what they run, read and may write."""
    lines = []
    for document in documents:
        lines.append(f"{document['kind']} {document['metadata']['name']}")
        template = document.get("spec", {}).get("template", document)
        if document["kind"] in ("Deployment", "Job", "Pod"):
            lines += [f"  {line}" for line in _pod(template["spec"])]
    return "\n".join(lines) + "\n"


def _pod(spec: dict[str, Any]) -> Iterator[str]:
    (container,) = spec["containers"]
    yield f"image {container['image']}"
    yield f"runs {' '.join(container.get('command', ['strongroom']) + container.get('args', []))}"
    for variable in container["env"]:
        yield f"{variable['name']}={variable['value']}"
    for volume in spec["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            yield f"reads secret {source['secret']['name']}"
        if "emptyDir" in volume:
            yield f"writes {volume['name']}, at most {volume['emptyDir']['sizeLimit']}"
    yield f"resources {container.get('resources', 'of the namespace')}"


@pytest.mark.parametrize("example", examples(), ids=lambda file: file.stem)
def test_an_example_makes_what_it_made_before(example: Path) -> None:
    rendered = helm_template.render(CHART, helm_template.read(example))
    golden = GOLDEN / f"{example.stem}.txt"

    found = outline([document for document in yaml.safe_load_all(rendered) if document])

    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()
