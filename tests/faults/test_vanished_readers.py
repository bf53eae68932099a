"""A reader that vanishes: its machine is off or its network gone, and nothing tells us."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.servers import wait_for

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("curl") is None,
    reason="needs root, iproute2 and curl on Linux: another network to vanish in",
)

DEADLINE_S = 2.0
OURS, THEIRS = "10.231.7.1", "10.231.7.2"


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The name of a network namespace, joined to this one by a cable."""
    name = f"lf{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], stderr=subprocess.DEVNULL)
    if done.returncode:
        pytest.skip("this container may make no network namespaces")
    try:
        for line in (
            f"link add {name}a type veth peer name {name}b netns {name}",
            f"addr add {OURS}/30 dev {name}a",
            f"link set {name}a up",
            f"-n {name} addr add {THEIRS}/30 dev {name}b",
            f"-n {name} link set {name}b up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)  # its end of the cable goes with it, and so does ours


def test_a_vanished_reader_is_gone_at_the_send_deadline(elsewhere: str, valkey: str, tmp_path: Path) -> None:
    """Its cable is cut: no reset, no acknowledgement. The kernel ends the connection at the deadline after a tick."""
    env = {
        "LIVEFEED_HOST": OURS,
        "LIVEFEED_REDIS_URL": valkey,
        "LIVEFEED_SEND_DEADLINE_S": str(DEADLINE_S),
        "LIVEFEED_TICK_S": "0.5",
    }
    with servers.serving(tmp_path / "var", env=env) as server:

        def streams() -> int:
            count: int = json.loads(servers.fetch(f"{server.url}/readyz")[1])["streams"]
            return count

        curl = ["ip", "netns", "exec", elsewhere, "curl", "-sN", f"{server.url}/stream"]
        with subprocess.Popen(curl, stdout=subprocess.DEVNULL) as reader:
            try:
                wait_for(lambda: streams() == 1, "the reader")
                subprocess.run(["ip", "-n", elsewhere, "link", "set", f"{elsewhere}b", "down"], check=True)
                vanished = time.monotonic()
                wait_for(lambda: streams() == 0, "its end")
                assert DEADLINE_S - 0.5 < time.monotonic() - vanished < 2 * DEADLINE_S + 1
            finally:
                reader.kill()
