"""Rules and dashboard of the chart: every expression is PromQL, over metrics that are exported."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.helm.test_pods import Document, rendered
from tests.helm.test_values import changed, refusal
from tools.chart_check import CHART
from web.metrics.catalogue import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "metrics.md"
LABELS = {each.name: set(each.labels) for each in METRICS}
ON = {"enabled": True, "token": {"existingSecret": "metrics"}}
# What has to wake somebody, whatever else is added.
NEEDED = {
    *("StrongroomDispatcherSilent", "StrongroomTenantsOverdue", "StrongroomRegionUnreachable"),
    *("StrongroomRecordNotSequenced", "StrongroomQueueStuck", "StrongroomProofTooOld"),
    *("StrongroomNotScraped", "StrongroomDatabaseAway"),
}


def of_kind(kind: str, **metrics: Any) -> list[Document]:
    return [each for each in rendered(metrics=ON | metrics) if each["kind"] == kind]


def rules() -> list[Document]:
    [found] = of_kind("PrometheusRule")
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def panels() -> list[Document]:
    found = json.loads((CHART / "files" / "dashboard.json").read_text())
    return list(found["panels"])


def expressions() -> list[str]:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules()), *shown]


def parts(node: Any) -> Iterator[Any]:
    """A parsed expression and all that is in it."""
    yield node
    for name in ("expr", "lhs", "rhs", "param", "args", "vector_selector"):
        inner = getattr(node, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None and not isinstance(each, str | int | float):
                yield from parts(each)


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_promql_over_what_is_exported(expression: str) -> None:
    found = list(parts(promql_parser.parse(expression)))
    selectors = [each for each in found if isinstance(each, promql_parser.VectorSelector)]

    assert selectors
    known: set[str] = set()
    for each in selectors:
        assert each.name in LABELS, each.name
        known |= LABELS[each.name]
        used = {matcher.name for matcher in each.matchers.matchers}
        assert used <= LABELS[each.name], expression
    for names in re.findall(r"\b(?:by|on|without) \((.*?)\)", expression):
        assert {name.strip() for name in names.split(",") if name.strip()} <= known, expression
    assert set(re.findall(r"strongroom_\w+", expression)) == {each.name for each in selectors}


def test_what_has_to_wake_somebody_does_and_says_what_to_do() -> None:
    found = {rule["alert"]: rule for rule in rules()}

    assert set(found) >= NEEDED
    assert len(found) == len(rules())
    for rule in found.values():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert re.fullmatch(r"\d+[mhd]", rule["for"])


def test_the_page_has_every_rule() -> None:
    said = re.findall(r"^\| `(Strongroom\w+)` \|", PAGE.read_text(), re.MULTILINE)

    assert said == [rule["alert"] for rule in rules()]


def test_no_word_of_a_value_is_left_and_a_changed_one_arrives() -> None:
    text = yaml.safe_dump(of_kind("PrometheusRule", rules={"drillDays": 400}))

    assert not re.search(r"[A-Z]+_(DAYS|HOURS)", text)
    assert "> 400 * 86400" in text


def test_labels_in_words_are_labels_of_the_metrics() -> None:
    for rule in rules():
        names = set(re.findall(r"strongroom_\w+", rule["expr"]))
        there = set().union(*(LABELS[name] for name in names))
        words = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= there


def test_every_panel_has_its_place_and_a_legend_for_what_it_tells_apart() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in panel["targets"]:
            [*apart] = re.findall(r"^max by \((.*?)\)", target["expr"])
            for name in ", ".join(apart).split(", ") if apart else ():
                assert "{{" + name + "}}" in target["legendFormat"], panel["title"]


def test_the_scraper_gets_the_token_that_the_pages_want() -> None:
    [monitor] = of_kind("ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    documents = rendered(metrics=ON)
    [service] = [d for d in documents if d["kind"] == "Service"]
    [web] = [
        d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"].endswith("-web")
    ]

    assert endpoint["authorization"]["credentials"] == {"name": "metrics", "key": "token"}
    assert (endpoint["path"], endpoint["port"]) == ("/metrics", service["spec"]["ports"][0]["name"])
    labels = service["metadata"]["labels"].items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels
    [container] = web["spec"]["template"]["spec"]["containers"]
    assert "STRONGROOM_METRICS_TOKEN_FILE" in {each["name"] for each in container["env"]}


def test_the_dashboard_arrives_whole_and_marked_for_grafana() -> None:
    [found] = of_kind("ConfigMap")

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["strongroom.json"])["panels"] == panels()


def test_nothing_of_it_is_made_unless_it_is_wanted() -> None:
    kinds = {each["kind"] for each in rendered()}
    assert not kinds & {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    off = {"enabled": False}
    assert of_kind("ServiceMonitor", monitor=off) == []
    assert of_kind("PrometheusRule", rules=off) == []
    assert of_kind("ConfigMap", dashboard=off) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metrics.enabled", True),  # without a token nobody could scrape it
        ("metrics.tenants", -1),
        ("metrics.monitor.interval", "often"),
        ("metrics.rules.drillDays", 0),
        ("metrics.rule", {}),
    ],
)
def test_values_that_make_no_sense_are_refused(path: str, value: object) -> None:
    assert "metrics" in refusal(changed(path, value))
