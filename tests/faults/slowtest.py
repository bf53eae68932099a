"""`make slowtest`: slowhttptest's four attacks with 1,000 connections each, against a real `livefeed serve`.

Meanwhile /readyz is asked on new connections; each answer must come within a second, and the attack's connections must
be gone at the deadline. Needs `slowhttptest` on PATH (Debian, Ubuntu: apt install slowhttptest); takes a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from livefeed.server import raise_descriptor_limit
from livefeed.settings import Settings
from tests import servers

CONNECTIONS = 1_000
PER_SECOND = 250
LENGTH_S = 25
"""When slowhttptest would give up by itself."""
ANSWER_S = 1.0
"""Longest answer of /readyz meanwhile."""
LATE_S = 2.0
"""Beyond deadline and opening: a sweep, and a busy machine."""
PROBE_EVERY_S = 0.1

ATTACKS: dict[str, Sequence[str]] = {
    "-H slow heads": ("-H", "-i", "2", "-x", "24", "-t", "GET"),
    "-B slow bodies": ("-B", "-i", "2", "-x", "10", "-s", "60000", "-t", "POST"),
    "-R ranges": ("-R", "-a", "5", "-b", "3000", "-t", "HEAD"),
    "-X slow readers": ("-X", "-w", "512", "-y", "1024", "-n", "2", "-z", "32", "-k", "3", "-t", "GET"),
}


class Outcome(NamedTuple):
    """What an attack did to the service."""

    held: int
    """Most connections it held at once."""
    gone_s: float
    """When the last of them was gone."""
    slowest_s: float
    """The slowest answer meanwhile."""
    failed: int
    """Answers that were none."""
    asked: int


def main() -> int:
    """Run all attacks, print a line for each; 1 when one succeeded."""
    program = shutil.which("slowhttptest")
    if program is None:
        sys.stderr.write("slowhttptest is not installed (Debian, Ubuntu: apt install slowhttptest).\n")
        return 1
    raise_descriptor_limit()
    limit_s = Settings().head_deadline_s + CONNECTIONS / PER_SECOND + LATE_S
    good = True
    with tempfile.TemporaryDirectory() as directory, servers.serving(Path(directory) / "var") as server:
        _fill(server)
        # The desk reads bodies from those it knows only; slowhttptest has no option for a header, but this one.
        token = _livefeed(server, "token", "create", "--name", "slow", "--scope", "publish").split()[-1]
        json = ("-f", f"application/json\r\nAuthorization: Bearer {token}")
        for name, options in ATTACKS.items():
            outcome = _attack(program, server, [*options, *(json if options[0] == "-B" else ())])
            held = outcome.gone_s <= limit_s and outcome.slowest_s < ANSWER_S and not outcome.failed
            good &= held
            sys.stdout.write(
                f"{name:16} {'held' if held else 'FAILED'}: {outcome.held:5} connections at most, the last gone after "
                f"{outcome.gone_s:4.1f} s (at most {limit_s:.0f}); {outcome.asked} probes, the slowest "
                f"{outcome.slowest_s * 1000:.0f} ms, {outcome.failed} failed\n"
            )
            sys.stdout.flush()
        errors = [line for line in server.errors.splitlines() if "error" in line.lower()]
        sys.stdout.write(f"{len(errors)} error lines in the log\n" + "".join(f"  {line}\n" for line in errors[:10]))
    return 0 if good and not errors else 1


def _attack(program: str, server: servers.LiveServer, options: Sequence[str]) -> Outcome:
    before = _descriptors(server.pid)
    # The API's newest items with their bodies are the largest answer there is: some 200 KB here.
    path = "/api/items" if options[0] in ("-X", "-B") else "/"
    command = [program, *options, "-u", server.url + path, "-c", str(CONNECTIONS), "-r", str(PER_SECOND)]
    held, gone_s, slowest_s, failed, asked = 0, 0.0, 0.0, 0, 0
    with subprocess.Popen([*command, "-l", str(LENGTH_S), "-p", "3"], stdout=subprocess.DEVNULL) as attack:
        begun = time.monotonic()
        while attack.poll() is None:
            count = _descriptors(server.pid) - before
            held = max(held, count)
            if count > CONNECTIONS // 100:
                gone_s = time.monotonic() - begun
            elif held > CONNECTIONS // 2 and time.monotonic() - begun > 2 * CONNECTIONS / PER_SECOND:
                attack.terminate()  # all were cut; it opens no new ones
            at = time.monotonic()
            status, _ = servers.fetch(f"{server.url}/readyz", timeout_s=5)
            slowest_s = max(slowest_s, time.monotonic() - at)
            failed += status != 200
            asked += 1
            time.sleep(PROBE_EVERY_S)
    return Outcome(held, gone_s, slowest_s, failed, asked)


def _fill(server: servers.LiveServer) -> None:
    """Publish as much as makes answers large."""
    body = "Un corps assez long pour remplir des tampons. " * 60
    for n in range(30):
        _livefeed(server, "publish", "--rubric", "monde", "--headline", f"Info {n}", "--body-file", "-", said=body)


def _livefeed(server: servers.LiveServer, *arguments: str, said: str = "") -> str:
    env = os.environ | {"LIVEFEED_DATA_DIR": str(server.data_dir)}
    command = [sys.executable, "-m", "livefeed", *arguments]
    return subprocess.run(command, input=said, text=True, env=env, check=True, stdout=subprocess.PIPE).stdout


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


if __name__ == "__main__":
    sys.exit(main())
