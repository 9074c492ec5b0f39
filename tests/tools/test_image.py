"""The image cannot be built here; what it takes and what the chart expects of it can be compared."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
POD = (ROOT / "helm/strongroom/templates/_pod.tpl").read_text()
WEB = (ROOT / "helm/strongroom/templates/web.yaml").read_text()


def copied() -> list[str]:
    """What COPY takes from the checkout."""
    found = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
    return [name for names in found for name in names.split()]


def test_everything_that_is_copied_exists() -> None:
    assert [name for name in copied() if not (ROOT / name).exists()] == []


def test_everything_that_is_copied_gets_past_the_ignore_file() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    through = allowed | {f"requirements/{name}.txt" for name in ("build", "production")}

    assert set(copied()) <= through


def test_every_part_of_the_wheel_is_copied() -> None:
    wheel = re.search(r"(?m)^packages = \[(.+)\]$", (ROOT / "pyproject.toml").read_text())
    assert wheel

    parts = {name.split("/")[0] for name in re.findall(r'"([^"]+)"', wheel[1])}

    assert parts <= set(copied())


def test_image_and_chart_agree_on_the_account() -> None:
    uid = re.search(r"(?m)^USER (\d+):(\d+)$", DOCKERFILE)
    assert uid and uid[1] == uid[2]

    assert f"--uid {uid[1]}" in DOCKERFILE
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        assert f"{field}: {uid[1]}\n" in POD


def test_image_and_chart_agree_on_program_and_port() -> None:
    port = re.search(r"(?m)^EXPOSE (\d+)$", DOCKERFILE)
    assert port

    assert 'ENTRYPOINT ["strongroom"]' in DOCKERFILE
    assert f"containerPort: {port[1]}" in WEB
    assert f'"--port" "{port[1]}"' in WEB
