"""Clients are made without the client library's list of endpoints, and do as with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from strongroom import storage
from strongroom.credentials import Credentials, Region, s3_client, sts_client
from strongroom.session_policy import Act

ROOT = Credentials("access", "secret")
WITHOUT = """
from strongroom import credentials
here = credentials.Region("a", "http://127.0.0.1:1", "b", "me-central-1", "arn:aws:iam::1:role/x")
credentials.s3_client(here), credentials.sts_client(here)
import gc
lists = [each for each in gc.get_objects() if isinstance(each, dict) and "api.ecr" in each]
assert not lists, "the list of all endpoints was read"
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


@pytest.mark.parametrize("location", ["us-east-1", "me-central-1", "eu-somewhere", "region-a"])
def test_a_client_signs_for_its_own_place(location: str) -> None:
    here = Region("a", "http://127.0.0.1:1", "bucket", location, "arn:aws:iam::1:role/x")
    for client, service, version in (
        (s3_client(here), "s3", "s3v4"),
        (sts_client(here), "sts", "v4"),
    ):
        assert client.meta.endpoint_url == here.endpoint
        assert client.meta.region_name == location
        signer = client._request_signer  # type: ignore[attr-defined]
        assert (signer.signing_name, signer._signature_version) == (service, version)


@pytest.mark.parametrize("location", ["us-east-1", "me-central-1"])
def test_objects_and_short_credentials_come_and_go(endpoint: str, location: str) -> None:
    role = "arn:aws:iam::123456789012:role/strongroom"
    here = Region("a", endpoint, f"bucket-{location}", location, role)
    store = storage.Store(here, ROOT)
    store.create_bucket()
    store.put("t/1/r/2/config", b"content")
    short = storage.assume(here, ROOT, prefix="t/1/r/2/", act=Act.READ, seconds=900)
    assert short.session_token
    assert storage.Store(here, short).get("t/1/r/2/config") == b"content"


def test_a_process_never_reads_the_list_of_all_endpoints() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
