"""What every pod of the chart keeps to, whichever example it is rendered from."""

from typing import Any

import click
import pytest
import yaml

from strongroom.worker import Queue
from tools import chart_check, helm_template
from tools.chart_check import CHART, examples
from web.commands import operate

Document = dict[str, Any]
QUEUES = [queue.value for queue in Queue]
SECRETS = ("URL", "REGIONS", "RECORD_KEY", "_PIN", "VAULT_TOKEN", "ACCESS_KEY", "SECRET_KEY")


def rendered(example: str = "demo", **more: object) -> list[Document]:
    values = helm_template.read(CHART / "examples" / f"{example}.yaml")
    text = helm_template.render(CHART, helm_template.merge(values, more))
    return [document for document in yaml.safe_load_all(text) if document]


def pods(documents: list[Document]) -> dict[str, Document]:
    """The pods' specifications, by component."""
    found = {}
    for document in documents:
        if document["kind"] == "Pod":
            found["test"] = document["spec"]
        elif document["kind"] in ("Deployment", "Job"):
            template = document["spec"]["template"]
            name = template["metadata"]["labels"]["app.kubernetes.io/component"]
            found[name] = template["spec"]
    return found


def secrets(pod: Document) -> set[str]:
    volumes = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
    sources = volumes[0]["projected"]["sources"] if volumes else []
    return {item["path"] for s in sources for item in s["secret"]["items"]}


@pytest.mark.parametrize("example", [file.stem for file in examples()])
def test_every_pod_is_confined(example: str) -> None:
    for pod in pods(rendered(example)).values():
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        for volume in pod["volumes"]:
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": "none is needed"})


def test_no_secret_is_in_the_environment_and_none_is_made_by_the_chart() -> None:
    documents = rendered("multi-region")

    assert "Secret" not in {document["kind"] for document in documents}
    for pod in pods(documents).values():
        for variable in pod["containers"][0]["env"]:
            if any(word in variable["name"] for word in SECRETS):
                assert variable["name"].endswith("_FILE")
                assert variable["value"].startswith("/run/secrets/strongroom/")


def test_each_part_gets_the_secrets_it_needs_and_no_others() -> None:
    found = {name: secrets(pod) for name, pod in pods(rendered()).items()}

    vaults = {"database-worker", "regions", "record-key"}
    everything = {*vaults, "broker"}
    assert found == {
        "web": {"database-web", "database-people", "database-operator", "broker"},
        "dispatcher": {"database-dispatcher", "broker"},
        "upkeep": {*vaults, "database-dumper", "database-operator", "database-people"},
        "operator": {*everything, "database-operator", "database-people"},
        "migration": {"database-migrator"},
        "test": set(),
        **{f"worker-{queue}": everything for queue in QUEUES},
    }


def test_every_variable_that_names_a_file_names_one_that_is_mounted() -> None:
    for pod in pods(rendered()).values():
        container = pod["containers"][0]
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        for variable in container["env"]:
            if variable["name"].endswith(("_FILE", "_FOLDER")):
                assert any(variable["value"].startswith(mount) for mount in mounts)


@pytest.mark.parametrize("example", [file.stem for file in examples()])
def test_the_command_line_knows_what_the_pods_run(example: str) -> None:
    found = {n: pod["containers"][0].get("args") for n, pod in pods(rendered(example)).items()}

    assert {name for name, words in found.items() if not words} <= {"operator", "test"}
    for name, words in found.items():
        command: click.Command = click.Group(commands=operate.COMMANDS)
        while words and isinstance(command, click.Group):
            command, words = command.commands[words[0]], words[1:]
        if words is not None:
            command.make_context(name, words)  # raises on an option it does not know


def test_there_is_a_worker_for_every_queue() -> None:
    assert {f"worker-{queue}" for queue in Queue} <= set(pods(rendered()))


def test_what_the_migration_needs_is_there_before_anything_else() -> None:
    hooks = {}
    for document in rendered():
        marks = document["metadata"].get("annotations", {})
        if marks.get("helm.sh/hook") == "pre-install,pre-upgrade":
            hooks[document["kind"]] = int(marks["helm.sh/hook-weight"])
            assert marks["helm.sh/hook-delete-policy"] == "before-hook-creation"
            assert document["metadata"]["name"] == "demo-strongroom-migration"

    assert hooks["ServiceAccount"] < hooks["Job"]
    assert hooks["NetworkPolicy"] < hooks["Job"]
    job = pods(rendered())["migration"]
    assert job["serviceAccountName"] == "demo-strongroom-migration"


def test_every_selector_finds_exactly_its_own_pods() -> None:
    documents = rendered()
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in documents if _deployed(d)]
    for document in documents:
        selector = document["spec"].get("selector", {}) if "spec" in document else {}
        wanted = selector.get("matchLabels", selector)
        if wanted and document["kind"] != "Job":
            assert sum(wanted.items() <= pod.items() for pod in labels) == 1, document["kind"]


def _deployed(document: Document) -> bool:
    return bool(document["kind"] == "Deployment")


def test_only_workers_that_need_it_reach_the_tenants_systems() -> None:
    peers = [{"ipBlock": {"cidr": "10.30.0.0/16"}}]
    policies = {
        document["metadata"]["name"]: str(document["spec"])
        for document in rendered(networkPolicy={"sources": {"peers": peers, "ports": [5432]}})
        if document["kind"] == "NetworkPolicy"
    }

    reaching = {name for name, text in policies.items() if "10.30.0.0/16" in text}
    assert reaching == {"demo-strongroom-worker-backup", "demo-strongroom-worker-restore"}
    deny = yaml.safe_load(policies["demo-strongroom-deny"])
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert set(deny) == {"podSelector", "policyTypes"}


def test_the_pages_reach_the_storage_and_have_no_rights_in_it() -> None:
    """What is prepared for a download brings the rights to read it along."""
    peers = [{"ipBlock": {"cidr": "10.50.0.0/16"}}]
    documents = rendered(networkPolicy={"storage": {"peers": peers, "ports": [443]}})
    reached = {
        document["metadata"]["name"].removeprefix("demo-strongroom-")
        for document in documents
        if document["kind"] == "NetworkPolicy" and "10.50.0.0/16" in str(document["spec"])
    }
    assert "web" in reached
    assert "dispatcher" not in reached
    assert "REGIONS" not in str(pods(documents)["web"])


def test_scaling_leaves_the_number_of_workers_to_the_queue() -> None:
    documents = rendered("multi-region")

    scaled = {d["spec"]["scaleTargetRef"]["name"] for d in documents if d["kind"] == "ScaledObject"}
    assert scaled == {f"demo-strongroom-worker-{queue}" for queue in QUEUES}
    for document in documents:
        if _deployed(document) and "-worker-" in document["metadata"]["name"]:
            assert "replicas" not in document["spec"]


def test_an_image_by_digest_wins_over_its_tag() -> None:
    digest = "sha256:" + "a" * 64
    documents = rendered(image={"repository": "r.example/s", "tag": "1", "digest": digest})

    images = {pod["containers"][0]["image"] for pod in pods(documents).values()}
    assert images == {f"r.example/s@{digest}"}


def test_the_check_sees_a_wrong_type_an_unknown_field_and_an_unknown_kind() -> None:
    service = next(document for document in rendered() if document["kind"] == "Service")
    wrong = {**service, "spec": {**service["spec"], "ports": [{"port": "eighty"}]}}
    unknown = {**service, "spec": {**service["spec"], "portz": []}}

    assert chart_check.fault(service, "1.37") is None
    for document in (wrong, unknown, {**service, "kind": "Servize"}):
        assert chart_check.fault(document, "1.37")
