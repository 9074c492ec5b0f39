"""Values that do not fit are refused when the chart is rendered, not found out in the cluster."""

from typing import Any

import helm_python
import pytest
import yaml

from tools import helm_template
from tools.chart_check import CHART

EXAMPLE = CHART / "examples" / "one-region.yaml"


def changed(path: str, value: object) -> helm_template.Values:
    """The example's values with one of them set; a path is words with dots between."""
    *tables, last = path.split(".")
    layer: dict[str, Any] = {last: value}
    for name in reversed(tables):
        layer = {name: layer}
    return helm_template.merge(helm_template.read(EXAMPLE), layer)


def refusal(values: helm_template.Values) -> str:
    with pytest.raises(helm_python.HelmError) as caught:
        helm_template.render(CHART, values)
    return str(caught.value)


@pytest.mark.parametrize("path", ["webb", "web.replica", "web.service.prot", "database.webb"])
def test_a_misspelt_value_is_refused(path: str) -> None:
    assert path.split(".")[-1] in refusal(changed(path, {} if "." not in path else 1))


@pytest.mark.parametrize(
    "path",
    [
        *("database.web.existingSecret", "database.dumper.existingSecret"),
        *("broker.existingSecret", "regions.existingSecret", "recordKey.existingSecret"),
    ],
)
def test_a_missing_name_of_a_secret_is_refused(path: str) -> None:
    assert "existingSecret" in refusal(changed(path, ""))


def test_nothing_is_rendered_from_the_chart_alone() -> None:
    assert "existingSecret" in refusal({})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("web.replicas", "two"),
        ("web.replicas", -1),
        ("web.service.port", 0),
        ("image.digest", "sha256:beef"),
        ("image.pullPolicy", "Sometimes"),
        ("keys.local.existingClaim", ""),
        ("settings.smallBytes", 0),
        ("settings.drillsADay", 0),
        ("settings.dumpHours", 48),
        ("seccompProfile.type", "Unconfined"),
        ("seccompProfile.type", "Localhost"),
        ("seccompProfile.localhostProfile", "profiles/landlock.json"),
        ("tmpSize", "much"),
        ("regions", []),
        ("regions.key", "two words"),
        ("networkPolicy.database.ports", ["5432"]),
        ("dispatcher.resources.limits.memory", 512),
    ],
)
def test_a_value_of_a_wrong_kind_is_refused(path: str, value: object) -> None:
    assert path.split(".")[0] in refusal(changed(path, value))


def test_every_queue_has_its_worker_exactly_once() -> None:
    workers = yaml.safe_load((CHART / "values.yaml").read_text())["workers"]

    assert "workers" in refusal(changed("workers", workers[:-1]))
    assert "workers" in refusal(changed("workers", [*workers, workers[0]]))


def test_an_ingress_without_a_host_and_scaling_without_an_address_are_refused() -> None:
    assert "host" in refusal(changed("web.ingress.host", ""))
    assert "address" in refusal(changed("scaling.enabled", True))
