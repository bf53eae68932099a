"""The scenarios. Each prints what it saw and returns whether its promise was kept."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import redis

from bench import machine
from bench.endurance.driving import Editor, Readers, Served, descriptors, in_order, peak_over_mean, store
from bench.load import Load, faults
from bench.servers import free_port

WINDOW_S = 5
SLACK_S = 2
PEAK_MAX = 2.0
IDLE_BYTES_MAX = 2_060
"""A fifth of what nchan needs for an idle reader."""
BODY_8K = "mot " * 1_950
"""An event of about 8 KB."""


def say(scenario: str, kept: bool, **figures: object) -> bool:
    """One line of the report."""
    shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
    print(f"{'kept  ' if kept else 'BROKEN'} {scenario}: {shown}", flush=True)
    return kept


def deploy(readers: int = 10_000) -> bool:
    """SIGTERM under many open streams."""
    with store() as (url, directory), Served(url, directory, drain_s=WINDOW_S) as server:
        editor = Editor(url)
        editor.publish(20)
        with Readers(server.port) as client:
            client.do("reconnect 0")
            client.do(f"connect {readers} 64 60000")
            client.do("clear")
            client.begin(f"gone {(WINDOW_S + SLACK_S + 5) * 1000}")
            publishing = threading.Thread(target=editor.publish, args=(40,), kwargs={"every_s": 0.1})
            publishing.start()
            code, took_s = server.stop()
            result = client.end()
            publishing.join()
        errors = server.log_text.count('"level": "error"') + server.log_text.count('"level": "warning"')
        drained = "the streams have ended" in server.log_text
    kept = (
        result["reached"]
        and code == 0
        and took_s < WINDOW_S + SLACK_S
        and result["byes"] == result["proper"] == readers
        and in_order(result)
        and not errors
        and drained
        and peak_over_mean(result["retries_s"]) <= PEAK_MAX
        and peak_over_mean(result["ends_s"]) <= PEAK_MAX
    )
    return say(
        f"deploy, {readers} streams, window {WINDOW_S} s",
        kept,
        exit_code=code,
        seconds=round(took_s, 2),
        byes=result["byes"],
        proper_ends=result["proper"],
        cut=result["cut"] + result["broken"],
        error_lines=errors,
        ends_from_to=(result["ends_s"]["min"], result["ends_s"]["max"]),
        ends_peak=round(peak_over_mean(result["ends_s"]), 2),
        retries_from_to=(result["retries_s"]["min"], result["retries_s"]["max"]),
        retries_peak=round(peak_over_mean(result["retries_s"]), 2),
        in_order=in_order(result),
    )


class Commands:
    """Counts what the store is asked, by MONITOR, on a thread."""

    def __init__(self, url: str) -> None:
        self._url, self._stop = url, threading.Event()
        self.reads = self.probes = self.others = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with redis.Redis.from_url(self._url) as admin, admin.monitor() as monitor:
            for command in monitor.listen():
                if self._stop.is_set():
                    return
                words = command["command"].split()
                if command["client_type"] == "lua" or words[0] in (
                    "PING",
                    "CLIENT",
                    "HELLO",
                    "SUBSCRIBE",
                    "SCRIPT",
                ):
                    continue
                if words[0] == "PUBLISH":
                    self.probes += 1
                elif words[0] == "EVALSHA":
                    self.reads += 1
                else:
                    self.others += 1

    def stop(self) -> None:
        self._stop.set()
        with redis.Redis.from_url(self._url) as admin:
            admin.echo("stop")
        self._thread.join()


def storm(readers: int = 8_000, missed: int = 20) -> bool:
    """``kill -9`` of the server; the store lives and events are published meanwhile."""
    with store() as (url, directory), Served(url, directory) as server:
        editor = Editor(url)
        editor.publish(50)
        with Readers(server.port) as client:
            client.do(f"connect {readers} 64 60000")
            client.do("run 500")
            client.do("clear")
            head = len(editor.positions) + missed
            client.begin(f"caught_up {head} 30000")
            killed_at = time.monotonic()
            server.stop(signal.SIGKILL)
            editor.publish(missed)
            commands = Commands(url)
            server.start()
            down_s = time.monotonic() - killed_at
            result = client.end()
            commands.stop()
        server.stop()
    probes = commands.probes
    # Each probe is one look at the head (EVALSHA, no entries) and one PUBLISH; the rest read the log, at the start.
    reads = commands.reads - probes
    kept = (
        result["reached"]
        and in_order(result)
        and result["items"] == readers * missed
        and peak_over_mean(result["arrivals_s"]) <= PEAK_MAX
        and reads <= 20
    )
    return say(
        f"storm, kill -9 under {readers} readers",
        kept,
        down_s=round(down_s, 2),
        all_back_and_caught_up_s=result["seconds"],
        items_replayed=result["items"],
        in_order=in_order(result),
        arrivals_peak=round(peak_over_mean(result["arrivals_s"]), 2),
        arrivals_from_to=(result["arrivals_s"]["min"], result["arrivals_s"]["max"]),
        store_reads_besides_probes=reads,
        other_commands=commands.others,
        probes=probes,
    )


def connects(readers: int = 8_000, replayed: int = 20, rounds: int = 3) -> bool:
    """Connects per second, each with a replay from the window."""
    rates, cpu = [], []
    for _ in range(rounds):
        with store() as (url, directory), Served(url, directory) as server:
            editor = Editor(url)
            editor.publish(100)
            time.sleep(0.5)
            with Readers(server.port) as client:
                client.do(f"position {editor.positions[-1 - replayed]}")
                used = machine.cpu_s([server.pid])
                result = client.do(f"connect {readers} 64 60000")
                cpu.append((machine.cpu_s([server.pid]) - used) / readers * 1e6)
                rates.append(readers / result["seconds"])
                caught = client.do(f"caught_up {len(editor.positions)} 10000")
                if not (caught["reached"] and caught["items"] == readers * replayed and in_order(caught)):
                    return say("connects", False, result=caught)
    return say(
        f"connects with a replay of {replayed}, {readers} readers",
        True,
        per_second=[round(rate) for rate in sorted(rates)],
        cpu_us=[round(c, 1) for c in sorted(cpu)],
    )


NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log warn; {user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    upstream livefeed {{ server 127.0.0.1:{one} max_fails=0; server 127.0.0.1:{two} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://livefeed; proxy_read_timeout 60s; proxy_next_upstream error timeout; }}
    }}
}}
"""


def rolling(readers: int = 1_000) -> bool:
    """Two processes behind nginx, restarted one after the other while events are published."""
    with store() as (url, directory):
        one, two = (Served(url, directory, drain_s=2) for _ in range(2))
        port = free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        config = directory / "nginx.conf"
        config.write_text(NGINX.format(directory=directory, one=one.port, two=two.port, port=port, user=user))
        with one, two:
            proxy = subprocess.Popen(["nginx", "-p", str(directory), "-c", str(config)], stderr=subprocess.DEVNULL)
            try:
                time.sleep(0.5)

                def restart() -> None:
                    for server in (one, two):
                        server.stop()
                        server.start()

                return _rolled("rolling restart behind nginx", url, port, readers, restart)
            finally:
                proxy.terminate()
                proxy.wait(10)


def reload(readers: int = 2_000) -> bool:
    """SIGHUP to the parent of two workers: each is replaced by one that serves before it drains."""
    with store() as (url, directory), Served(url, directory, workers=2, drain_s=2) as server:
        before = set(server.pids)

        def restart() -> None:
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 30
            while "every worker has been replaced" not in server.log_text and time.monotonic() < deadline:
                time.sleep(0.05)

        kept = _rolled("rolling restart by SIGHUP", url, server.port, readers, restart)
        stayed = (before & set(server.pids)) - {server.pid}
        stayed -= _trackers(stayed)
        errors = server.log_text.count('"level": "error"')
    return say("workers replaced", not stayed and not errors, error_lines=errors) and kept


def _trackers(pids: set[int]) -> set[int]:
    """multiprocessing's resource tracker, which is no worker."""
    return {pid for pid in pids if b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def _rolled(name: str, url: str, port: int, readers: int, restart: object) -> bool:
    editor = Editor(url)
    editor.publish(10)
    with Readers(port) as client:
        client.do(f"connect {readers} 64 60000")
        client.do("clear")
        client.begin("run 17000")
        publishing = threading.Thread(target=editor.publish, args=(300,), kwargs={"every_s": 0.05})
        publishing.start()
        started = time.monotonic()
        assert callable(restart)
        restart()
        took_s = time.monotonic() - started
        publishing.join()
        client.end()
        result = client.do(f"caught_up {len(editor.positions)} 20000")
    gaps = result["gaps_less_retry_s"]
    if not result["reached"]:
        print(result)
    kept = result["reached"] and in_order(result) and gaps["n"] >= readers / 2 and gaps["max"] <= 1.0
    return say(
        f"{name}, {readers} readers, 20 events/s",
        kept,
        restarted_in_s=round(took_s, 1),
        came_back=gaps["n"],
        byes=result["byes"],
        refused=result["refused"],
        in_order=in_order(result),
        items=result["items"],
        gap_beyond_retry_p99_and_max_s=(gaps["p99"], gaps["max"]),
    )


def churn(connections: int = 100_000) -> bool:
    """Connects and disconnects, with resets in mid-header and mid-event; twice."""
    settings = {"window_events": 200, "tick_s": 1.0}
    with store() as (url, directory), Served(url, directory, **settings) as server:
        editor = Editor(url)
        editor.publish(400)
        _churn(server, editor, 5_000)
        time.sleep(1)
        base, memory, rates = descriptors(server.pids), [], []
        for _ in range(2):
            started = time.monotonic()
            _churn(server, editor, connections)
            rates.append(round(connections / (time.monotonic() - started)))
            deadline = time.monotonic() + 10
            while server.ready().get("streams") and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(1)
            memory.append(machine.memory_bytes(server.pids))
        streams, left = server.ready().get("streams"), descriptors(server.pids)
        errors = server.log_text.count('"level": "error"')
    grown = memory[1] / memory[0] - 1
    kept = streams == 0 and left <= base + 1 and grown <= 0.03 and not errors
    return say(
        f"churn, twice {connections} connections",
        kept,
        per_second=rates,
        streams_left=streams,
        descriptors_before_and_after=(base, left),
        memory_mb=[round(m / 1e6, 1) for m in memory],
        grown=f"{grown:+.1%}",
        error_lines=errors,
    )


def _churn(server: Served, editor: Editor, connections: int, batch: int = 200) -> None:
    dice = random.Random(7)  # noqa: S311
    whole = b"GET /stream HTTP/1.1\r\nHost: x\r\nX-Padding: " + b"p" * 60 + b"\r\n\r\n"
    page = b"GET /api/items?limit=3 HTTP/1.1\r\nHost: x\r\n\r\n"
    for start in range(0, connections, batch):
        sockets = []
        for _ in range(min(batch, connections - start)):
            sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            request = dice.choice((whole, whole, whole, page))
            cut = len(request) if dice.random() < 0.75 else dice.randrange(len(request))
            sock.sendall(request[:cut])
            sockets.append(sock)
        if start // batch % 10 == 0:
            editor.publish(2, body=BODY_8K)
        for sock in sockets:
            if dice.random() < 0.5 and select.select([sock], [], [], 0.002)[0]:
                sock.recv(dice.randrange(1, 2_000))
            if dice.random() < 0.6:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def memory(readers: int = 15_000) -> bool:
    """User space of an idle reader, handed over."""
    with store() as (url, directory), Served(url, directory) as server:
        editor = Editor(url)
        editor.publish(50)
        with Readers(server.port) as client:
            client.do("connect 50 50 10000")
            client.do("run 1000")
            before = machine.memory_bytes(server.pids)
            client.do(f"connect {readers} 64 60000")
            client.do("run 1500")
            idle = (machine.memory_bytes(server.pids) - before) / readers
            editor.publish(3)
            client.do("caught_up 53 10000")
            used = (machine.memory_bytes(server.pids) - before) / readers
    return say(
        f"memory of an idle reader at {readers}",
        used <= IDLE_BYTES_MAX,
        bytes=round(idle),
        after_three_events=round(used),
    )


def _stalled(port: int, count: int) -> list[socket.socket]:
    """Readers that never read."""
    sockets = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        sockets.append(sock)
    return sockets


def _kernel_bytes() -> int:
    """What all TCP sockets of the machine hold in the kernel."""
    words = next(
        line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")
    ).split()
    return int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGESIZE")


def stalled(count: int = 1_000) -> bool:
    """User space and kernel of a stalled reader of 8 KB events."""
    settings = {"window_events": 60, "send_deadline_s": 60, "tick_s": 60}
    with store() as (url, directory), Served(url, directory, **settings) as server:
        editor = Editor(url)
        editor.publish(130, body=BODY_8K)  # the window is full of such events, and what they cost once is spent
        time.sleep(1)
        before, kernel = machine.memory_bytes(server.pids), _kernel_bytes()
        sockets = _stalled(server.port, count)
        time.sleep(1)
        editor.publish(50, every_s=0.02, body=BODY_8K)
        time.sleep(1)
        each = (machine.memory_bytes(server.pids) - before) / count
        kernel_each = (_kernel_bytes() - kernel) / count
        for sock in sockets:
            sock.close()
    return say(
        f"{count} stalled readers of 8 KB events",
        each <= 65_536,
        user_space_bytes_each=round(each),
        kernel_bytes_each_both_ends=round(kernel_each),
    )


def beside(live: int = 200, stalled_count: int = 100, deadline_s: float = 6.0) -> bool:
    """Stalled readers beside live ones: gone at the deadline, and nobody is slowed down."""
    settings = {"window_events": 400, "send_deadline_s": deadline_s, "tick_s": 1}
    machine.prepare()
    with store() as (url, directory), Served(url, directory, **settings) as server:
        editor = Editor(url)
        with Load(server.port, "/stream", "i") as load:
            load.connect(live)
            p99 = []
            sockets: list[socket.socket] = []
            gone_s = 0.0
            number = 1
            for phase in range(2):
                if phase:
                    sockets = _stalled(server.port, stalled_count)
                    time.sleep(0.5)
                load.expect(number, 150, timeout_s=60)
                editor.publish(150, every_s=0.02, body=BODY_8K)
                number += 150
                result = load.checked()
                if faults(result):
                    return say("stalled beside live", False, faults=faults(result))
                p99.append(result["delivery_ms"]["p99"])
            started = time.monotonic()
            while (server.ready().get("streams") or 0) > live and time.monotonic() - started < 3 * deadline_s:
                time.sleep(0.05)
            gone_s = time.monotonic() - started
            streams = server.ready().get("streams")
            size = machine.memory_bytes(server.pids)
            for sock in sockets:
                sock.close()
    return say(
        f"{stalled_count} stalled beside {live} live readers of 8 KB events",
        streams == live,
        streams_after_deadline=streams,
        gone_after_s=round(gone_s, 1),
        live_p99_ms_before_and_with=p99,
        process_mb=round(size / 1e6),
    )
