"""The chart, for every example and every Kubernetes it should run on: strict lint and schemas."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

from tools import helm_template

CHART = Path(__file__).resolve().parent.parent / "helm" / "strongroom"
KUBERNETES = ("1.30", "1.32", "1.34", "1.37")
# Kinds whose schema no release of Kubernetes has; anything else that is unknown is a mistake.
CUSTOM = {
    *(("keda.sh/v1alpha1", kind) for kind in ("ScaledObject", "TriggerAuthentication")),
    *(("monitoring.coreos.com/v1", kind) for kind in ("PrometheusRule", "ServiceMonitor")),
}
WARNING = 2  # severity, as helm counts


def main() -> int:
    complaints = []
    for example in examples():
        found = [*linted(example), *checked(example)]
        print(f"{example.name}: {len(found)} complaints on Kubernetes {', '.join(KUBERNETES)}")
        complaints += found
    for complaint in complaints:
        print(f"  {complaint}", file=sys.stderr)
    return 1 if complaints else 0


def examples() -> list[Path]:
    found = sorted((CHART / "examples").glob("*.yaml"))
    assert found, f"no example values under {CHART}/examples"
    return found


def linted(example: Path) -> Iterator[str]:
    for version in KUBERNETES:
        report = helm_python.lint(
            CHART, helm_template.read(example), strict=True, kube_version=f"v{version}.0"
        )
        for message in report["messages"]:
            if message["severity"] >= WARNING:
                yield f"{example.name}, lint for {version}: {message['path']}: {message['error']}"
        yield from (f"{example.name}, lint for {version}: {error}" for error in report["errors"])


def checked(example: Path) -> Iterator[str]:
    rendered = helm_template.render(CHART, helm_template.read(example))
    documents = [document for document in yaml.safe_load_all(rendered) if document]
    for version in KUBERNETES:
        for document in documents:
            complaint = fault(document, version)
            if complaint:
                yield f"{example.name}, schema of {version}: {complaint}"


def fault(document: helm_template.Values, version: str) -> str | None:
    """What the schema says against the document; None for nothing, and for a custom kind."""
    kind = (str(document["apiVersion"]), str(document["kind"]))
    name = f"{kind[1]} {document['metadata']['name']}"
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return None if kind in CUSTOM else f"{name}: no such kind as {kind[0]} {kind[1]}"
    except kubernetes_validate.ValidationError as error:
        return f"{name}: {error.message}"
    return None


if __name__ == "__main__":
    sys.exit(main())
