"""Schedules: from a seed to a list of timed actions, played in a world, judged by the oracle, shrunk when they fail.

A schedule is a plain list of actions, each at its own moment, so that leaving some out makes another schedule: that is
all that shrinking needs. What the actions do to each other is left to the machine; the seed fixes what is asked, the
oracle holds whatever comes of it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from livefeed.errors import ApiError, Unavailable
from livefeed.feed.filter import ALL
from livefeed.feed.item import Item, PublicItem
from livefeed.feed.log import index_of
from livefeed.feed.position import Position
from livefeed.newsroom.input import ChangeItem, NewItem, Withdrawal
from livefeed.newsroom.publishing import Published, Request
from tests.faults.lean import LeanReader
from tests.faults.oracle import FILTERS, Allowed, judge, reaches_back, read_log
from tests.faults.world import SETTLE_S, WINDOW_EVENTS, World

READERS = 10
EVENTS = 20
FAULTS_MIN = 3
LENGTH_S = 0.3
"""How long a schedule's actions are spread over."""
PHASES = ("idle", "publishing", "replaying", "catching up", "draining")
LOSSES = ("flushall", "restore", "promote")
LONG_BODY = "Un corps assez long pour remplir des tampons. " * 60


class Action(NamedTuple):
    """Something that happens at a moment."""

    at: float
    """Seconds after the schedule's start."""
    kind: str
    given: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.at:.3f}  {self.kind:<20} " + " ".join(f"{k}={v!r}" for k, v in self.given.items())


@dataclass
class Result:
    """What became of a schedule."""

    seed: int
    schedule: list[Action]
    violations: list[str] = field(default_factory=list)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Faults that took effect, by kind and phase."""
    events: int = 0
    readers: int = 0
    resets: int = 0
    took_s: float = 0.0


def generate(seed: int) -> list[Action]:
    """The schedule of a seed: readers, publishers and faults."""
    rng = random.Random(seed)  # noqa: S311  (reproducible, guards nothing)
    actions: list[Action] = []

    def at(low: float = 0.0, high: float = LENGTH_S) -> float:
        return round(rng.uniform(low, high), 4)

    def add(moment: float, kind: str, **given: Any) -> None:
        actions.append(Action(moment, kind, given))

    for number in range(rng.randint(READERS, READERS + 4)):
        query = rng.choice([*FILTERS, "", ""])
        version = "1.0" if rng.random() < 0.3 else "1.1"
        stops = rng.random() < 0.25
        moment = at(0, 0.05) if rng.random() < 0.7 else at()
        way = rng.choice(["direct", "proxy"])
        add(moment, "come", reader=number, worker=rng.randrange(2), query=query, version=version, way=way, small=stops)
        if stops:
            for_s = rng.choice([0.05, 0.15, 0.6])
            add(moment, "reader-stops", reader=number, bytes=rng.randint(1, 12_000), for_s=for_s)
        for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
            add(at(moment), rng.choice(["hop", "hop", "go"]), reader=number, worker=rng.randrange(2))
        if rng.random() < 0.3:
            add(at(moment), "come", reader=number, worker=rng.randrange(2))

    slow = rng.random() < 0.4
    for number in range(rng.randint(EVENTS + 2, EVENTS + 16)):
        kind = "publish" if number < 4 else rng.choice(["publish", "publish", "publish", "correct", "move", "turn"])
        moment = at(0, 0.03) if rng.random() < 0.2 else at()
        add(
            moment,
            kind,
            number=number,
            worker=rng.randrange(2),
            rubric=rng.choice(["sport", "monde", "culture", "tech"]),
            level=rng.choice(["normal", "normal", "urgent"]),
            tags=rng.choice([[], [], ["crue"]]),
            long=slow and rng.random() < 0.6,
            twice=rng.random() < 0.15,
        )

    kinds = [*FAULTS, "proxy", "proxy", "proxy"]
    losses = 0
    for _ in range(rng.randint(FAULTS_MIN + 1, FAULTS_MIN + 4)):
        kind = rng.choice(kinds)
        if kind in LOSSES:
            losses += 1
            if losses > 1 or rng.random() < 0.5:  # rarer, as a lost history allows any reset
                kind = "kill-pubsub"
        long = rng.random() < 0.12
        for_s = round(rng.uniform(0.45, 0.7) if long else rng.uniform(0.005, 0.15), 3)
        given: dict[str, Any] = {"worker": rng.randrange(2)}
        if kind == "proxy":
            kind = rng.choice(["delay", "cut", "split", "blackhole-up", "blackhole-down", "blackhole", "cut-at"])
            kind = rng.choice(["store-", "reader-"]) + kind
            given |= {"for_s": for_s, "bytes": rng.randint(1, 9_000)}
        elif kind in ("stop", "client-pause", "output-limit"):
            given["for_s"] = for_s
        elif kind == "block-loop":
            given["for_s"] = round(rng.uniform(0.01, 0.08), 3)
        elif kind == "reader-stops":
            given = {"reader": rng.randrange(READERS), "bytes": rng.randint(1, 8_000), "for_s": for_s}
        elif kind == "restore":
            add(at(0, 0.15), "back-up")
            add(at(0.2), kind)
            continue
        elif kind == "promote":
            add(0, "follow")
            add(at(0, 0.1), "detach")
            add(at(0.15), kind)
            continue
        add(at(), kind, **given)
    return sorted(actions, key=lambda action: action.at)


class Player:
    """Plays one schedule in a world."""

    def __init__(self, world: World, schedule: list[Action], seed: int) -> None:
        self.world = world
        self.result = Result(seed, schedule)
        self._readers: dict[int, LeanReader] = {}
        self._items: list[str] = []
        """Ids of what was published, oldest first."""
        self._acknowledged: list[tuple[str, Position]] = []
        self._lost = False
        self.copied = asyncio.Event()
        """The backup, or the replica's copy, is there."""
        if not any(action.kind in ("back-up", "detach") for action in schedule):
            self.copied.set()
        self._started = 0.0
        self._deadline = 0.0

    async def play(self) -> Result:
        """Play it, mend the world, and judge."""
        result, world = self.result, self.world
        started = time.monotonic()
        await world.begin()
        if any(action.kind == "follow" for action in result.schedule):
            await world.follow()
        self._started = time.monotonic()
        self._deadline = self._started + SETTLE_S
        tasks = [
            asyncio.create_task(self._act(action), name=action.kind)
            for action in result.schedule
            if action.kind != "follow"
        ]
        await asyncio.wait_for(self._faults_done(tasks), SETTLE_S * 2)
        while sum(result.faults.values()) < FAULTS_MIN:
            await self._take_effect(Action(0, "kill-pubsub", {"worker": 0}), FAULTS["kill-pubsub"])
        await world.heal()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                result.violations.append(f"the schedule itself: {outcome!r}")
        while result.events < EVENTS:  # changes of what was lost or has moved on were refused
            await self._publish(result.events, worker=0, rubric="monde", level="normal", tags=[], long=False)
        result.violations += await world.settle()
        await self._judge()
        for reader in self._readers.values():
            await reader.end()
        result.readers = len(self._readers)
        result.took_s = time.monotonic() - started
        return result

    async def _faults_done(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for all but the publishers: they need a world that is mended to come to their end."""
        await asyncio.gather(
            *(task for task in tasks if task.get_name() not in ("publish", "correct", "move", "turn")),
            return_exceptions=True,
        )

    async def _act(self, action: Action) -> None:
        await asyncio.sleep(max(0.0, self._started + action.at - time.monotonic()))
        if fault := FAULTS.get(action.kind) or _PROXY_FAULTS.get(action.kind):
            await self._take_effect(action, fault)
        else:
            given = dict(action.given)
            await getattr(self, "_" + action.kind.replace("-", "_"))(
                given.pop("reader", given.pop("number", 0)), **given
            )

    async def _take_effect(self, action: Action, fault: Fault) -> None:
        phase = self.world.phase()
        if await fault(self, **action.given):
            self.result.faults[action.kind, phase] += 1
            self._lost |= action.kind in LOSSES

    # Readers

    async def _come(
        self, number: int, worker: int, query: str = "", version: str = "1.1", way: str = "direct", small: bool = False
    ) -> None:
        reader = self._readers.get(number)
        if reader is None:
            world = self.world

            def port_of(worker: int) -> int:
                return world.proxies[worker].port if way == "proxy" else world.workers[worker].port

            reader = self._readers[number] = LeanReader(f"reader {number} ({query})", port_of, query, version, small)
            world.readers.append(reader)
        reader.come(worker)

    async def _hop(self, number: int, worker: int) -> None:
        if (reader := self._readers.get(number)) is not None and reader.wanted:
            reader.come(1 - reader.worker)

    async def _go(self, number: int, worker: int) -> None:
        if (reader := self._readers.get(number)) is not None:
            reader.go()

    async def stop_reader(self, number: int, bytes: int, for_s: float) -> bool:
        """Let a reader stop at a byte."""
        reader = self._readers.get(number)
        if reader is None:
            return False
        reader.stop_at(bytes, for_s)
        stopped = reader.stopped
        while reader.stopped == stopped and time.monotonic() < self._started + LENGTH_S:  # noqa: ASYNC110  (it may never)
            await asyncio.sleep(0.01)
        return reader.stopped > stopped

    # Publishers

    async def _publish(
        self, number: int, worker: int, rubric: str, level: Any, tags: list[str], long: bool, twice: bool = False
    ) -> None:
        given = NewItem(
            headline=f"Info {number}", rubric=rubric, level=level, tags=tags, body=LONG_BODY if long else "Un corps."
        )
        published = await self._insist(f"publish {number}", lambda p, r: p.create(given, r), worker, twice)
        if published is not None:
            self._items.append(published.item.id)

    async def _correct(
        self, number: int, worker: int, rubric: str, level: Any, tags: list[str], long: bool, twice: bool = False
    ) -> None:
        await self._change(number, worker, ChangeItem(change="correct", note="Précision", level=level), twice)

    async def _move(
        self, number: int, worker: int, rubric: str, level: Any, tags: list[str], long: bool, twice: bool = False
    ) -> None:
        await self._change(number, worker, ChangeItem(change="edit", rubric=rubric, tags=tags), twice)

    async def _change(self, number: int, worker: int, given: ChangeItem, twice: bool) -> None:
        if not self._items:
            return
        id = self._items[number % len(self._items)]
        up = next((worker for worker in self.world.workers if worker.up), None)
        known = up.feed.mirror.board.item(id) if up is not None else None
        version = known.version if known is not None else 1
        await self._insist(f"change {number}", lambda p, r: p.change(id, given, version, r), worker, twice)

    async def _turn(
        self, number: int, worker: int, rubric: str, level: Any, tags: list[str], long: bool, twice: bool = False
    ) -> None:
        """Withdraw an item, or restore it where it is withdrawn."""
        if not self._items:
            return
        id = self._items[number % len(self._items)]
        up = next((worker for worker in self.world.workers if worker.up), None)
        known = up.feed.mirror.board.item(id) if up is not None else None
        if known is not None and known.status == "withdrawn":
            await self._insist(f"restore {number}", lambda p, r: p.restore(id, Withdrawal(), None, r), worker, twice)
        else:
            await self._insist(f"withdraw {number}", lambda p, r: p.withdraw(id, Withdrawal(), None, r), worker, twice)

    async def _insist(
        self, what: str, verb: Callable[[Any, Request], Awaitable[Published]], worker: int, twice: bool
    ) -> Published | None:
        """Ask until it is acknowledged, with one key, at one worker and the other; perhaps once more after that."""
        request = Request("test", "test", f"{self.result.seed} {what}", what.encode())
        acknowledged: Published | None = None
        self.world.busy += 1
        try:
            while time.monotonic() < self._deadline + SETTLE_S:
                place = self.world.workers[worker]
                if place.up:
                    try:
                        published = await verb(place.publisher, request)
                    except Unavailable:
                        pass
                    except ApiError:  # moved on, withdrawn, or gone with a lost history: the editor looks again
                        return None
                    else:
                        if acknowledged is not None:
                            if published.position != acknowledged.position and not self._lost:
                                self.result.violations.append(f"{what}: acknowledged twice, differently")
                            return published
                        self._acknowledged.append((what, published.position))
                        self.result.events += 1
                        acknowledged = published
                        if not twice:
                            return published
                        continue
                worker = 1 - worker
                await asyncio.sleep(0.015)
            self.result.violations.append(f"{what}: never acknowledged, though everything was mended")
            return None
        finally:
            self.world.busy -= 1

    # What else the world does

    async def _back_up(self, number: int) -> None:
        await self.world.back_up()
        self.copied.set()

    async def _detach(self, number: int) -> None:
        await self.world.detach()
        self.copied.set()

    # Judgement

    async def _judge(self) -> None:
        result, world = self.result, self.world
        await read_log(world.admin, world.keys, world.truth)
        truth = world.truth
        result.violations += truth.complaints + world.failures.seen
        kinds = {kind for kind, _ in result.faults}
        away = any(not kind.startswith("reader-") for kind in kinds)
        allowed = Allowed(loss=self._lost, store_away=away, window_events=WINDOW_EVENTS)
        for reader in self._readers.values():
            result.violations += judge(reader, truth, allowed)
            result.resets += sum(told.kind == "reset" for told in reader.record)
        history = {entry.position for entry in truth.history()}
        for what, position in self._acknowledged:
            if position not in truth.entries:
                result.violations.append(f"{what}: acknowledged at {position}, which the log never had")
            elif position not in history and not self._lost:
                result.violations.append(f"{what}: acknowledged at {position}, and lost")
        created = Counter(e.event.item.headline for e in truth.history() if e.event.change == "publish")
        stubs = {e.id for e in truth.history() if e.event.item.status == "withdrawn"}
        for headline, count in created.items():
            if count > 1 and not stubs:
                result.violations.append(f"{headline!r} is in the log {count} times")
        await self._judge_snapshots()

    async def _judge_snapshots(self) -> None:
        world, truth = self.world, self.world.truth
        rows = await world.admin.hgetall(world.keys.items)
        items = [msgspec.json.decode(row, type=Item) for row in rows.values()]
        expected = [item.public() for item in sorted(items, key=index_of, reverse=True) if item.is_public]
        newest: dict[str, int] = {entry.id: entry.event.item.version for entry in truth.history()}
        if {item.id: item.version for item in items} != newest:
            self.result.violations.append("the stored items are not the newest versions of the log")
        for worker in world.workers:
            await world._know(worker)
            snapshot = await worker.feed.snapshot(ALL, 1_000)
            if snapshot.position != str(truth.head):
                self.result.violations.append(f"worker {worker.number}: its page is at {snapshot.position}")
            self._compare(worker.number, expected, list(snapshot.items))
            window = worker.feed.mirror.window
            frames = window.frames(window.base.seq, window.head.seq, ALL, "full")
            self.result.violations += [f"worker {worker.number}: {c}" for c in reaches_back(b"".join(frames), truth)]

    def _compare(self, worker: int, expected: list[PublicItem], shown: list[PublicItem]) -> None:
        if [(i.id, i.version) for i in shown] != [(i.id, i.version) for i in expected]:
            self.result.violations.append(f"worker {worker}: its page is not the newest public state")
        elif [(i.status, i.headline) for i in shown] != [(i.status, i.headline) for i in expected]:
            self.result.violations.append(f"worker {worker}: its page shows another text than the store has")


Fault = Callable[..., Awaitable[bool]]
"""(player, what the action gives) → whether it took effect."""


async def _stop(player: Player, worker: int, for_s: float) -> bool:
    if not player.world.pause():
        return False
    await asyncio.sleep(for_s)
    player.world.go_on()
    return True


async def _kill(player: Player, worker: int) -> bool:
    return player.world.kill()


async def _kill_pubsub(player: Player, worker: int) -> bool:
    return bool(await player.world.admin.client_kill_filter(_type="pubsub"))


async def _client_pause(player: Player, worker: int, for_s: float) -> bool:
    await player.world.admin.client_pause(int(for_s * 1000))
    await asyncio.sleep(for_s)
    return True


async def _output_limit(player: Player, worker: int, for_s: float) -> bool:
    before = await player.world.disconnects_of_slow_clients()
    await player.world.admin.config_set("client-output-buffer-limit", "pubsub 1 1 1")
    await asyncio.sleep(for_s)
    await player.world.admin.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
    return await player.world.disconnects_of_slow_clients() > before


async def _flushall(player: Player, worker: int) -> bool:
    player._lost = True  # from now on: readers may be told before we are
    return await player.world.flush() > 0


async def _restore(player: Player) -> bool:
    player._lost = True
    await player.copied.wait()
    return await player.world.restore() > 0


async def _promote(player: Player) -> bool:
    player._lost = True
    await player.copied.wait()
    return await player.world.promote() > 0


async def _block_loop(player: Player, worker: int, for_s: float) -> bool:
    asyncio.get_running_loop().call_soon(time.sleep, for_s)
    await asyncio.sleep(0)
    return True


async def _reader_stops(player: Player, reader: int, bytes: int, for_s: float) -> bool:
    return await player.stop_reader(reader, bytes, for_s)


async def _restart_worker(player: Player, worker: int) -> bool:
    place = player.world.workers[worker]
    if not place.up or not player.world.workers[1 - worker].up:
        return False
    await place.stop()
    await place.start()
    return True


FAULTS: dict[str, Fault] = {
    "stop": _stop,
    "kill": _kill,
    "kill-pubsub": _kill_pubsub,
    "client-pause": _client_pause,
    "output-limit": _output_limit,
    "flushall": _flushall,
    "restore": _restore,
    "promote": _promote,
    "block-loop": _block_loop,
    "reader-stops": _reader_stops,
    "restart-worker": _restart_worker,
}
"""SIGSTOP and SIGCONT, SIGKILL, CLIENT KILL, CLIENT PAUSE, CONFIG SET, FLUSHALL, …"""


def _proxied(place: str, what: str) -> Fault:
    async def fault(player: Player, worker: int, for_s: float, bytes: int) -> bool:
        world = player.world
        proxy = world.workers[worker].to_store if place == "store" else world.proxies[worker]
        if what == "cut":
            return proxy.cut() > 0
        counts = ("delayed", "split", "held_up", "held_down") if what != "cut-at" else ("cut",)
        before = sum(proxy.counts[name] for name in counts)
        if what == "cut-at":
            proxy.cut_after(bytes)
        else:
            proxy.set(**_PROXY_SETTINGS[what])
        await asyncio.sleep(for_s)
        if what != "cut-at":
            proxy.set(**{name: type(value)() for name, value in _PROXY_SETTINGS[what].items()})
        return sum(proxy.counts[name] for name in counts) > before

    return fault


_PROXY_SETTINGS: dict[str, dict[str, Any]] = {
    "delay": {"delay_s": 0.02},
    "split": {"split": True},
    "blackhole-up": {"hold_up": True},
    "blackhole-down": {"hold_down": True},
    "blackhole": {"hold_up": True, "hold_down": True},
}
_PROXY_FAULTS = {
    f"{place}-{what}": _proxied(place, what)
    for place in ("store", "reader")
    for what in ("cut", "cut-at", *_PROXY_SETTINGS)
}


async def play(world: World, seed: int, schedule: list[Action] | None = None) -> Result:
    """Play the schedule of a seed, or a given one."""
    return await Player(world, generate(seed) if schedule is None else schedule, seed).play()


async def shrink(world: World, result: Result, tries: int = 2, budget_s: float = 60.0) -> list[Action]:
    """The shortest schedule found that still fails, by leaving actions out, halves first; bounded in time."""
    schedule, deadline = result.schedule, time.monotonic() + budget_s
    size = max(1, len(schedule) // 2)
    while size:
        at = 0
        while at < len(schedule) and time.monotonic() < deadline:
            shorter = schedule[:at] + schedule[at + size :]
            if any([bool((await play(world, result.seed, shorter)).violations) for _ in range(tries)]):
                schedule = shorter
            else:
                at += size
        size //= 2
    return schedule


def told(result: Result, shrunken: list[Action] | None = None) -> str:
    """A failure as it is printed: what is wrong, the seed, the schedule."""
    lines = [f"seed {result.seed}: {len(result.violations)} violations", *(f"  {v}" for v in result.violations[:8])]
    if shrunken is not None:
        lines += [f"shrunken from {len(result.schedule)} to {len(shrunken)} actions:", *(f"  {a}" for a in shrunken)]
    return "\n".join(lines)


def table(faults: Counter[tuple[str, str]]) -> str:
    """Faults that took effect, by kind and phase."""
    kinds = [*FAULTS, *_PROXY_FAULTS]
    width = max(map(len, kinds))
    lines = [" " * width + "".join(f"{phase:>13}" for phase in PHASES)]
    lines += [f"{kind:<{width}}" + "".join(f"{faults[kind, phase]:>13}" for phase in PHASES) for kind in kinds]
    return "\n".join(lines)
