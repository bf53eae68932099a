"""The listener: one task per process that hears the channel and moves the mirror.

The stream is the truth, the channel is the bell. Pub/sub forgets whoever was away, and a client library can go deaf
without an error (redis-py 8.1: a paused server is silence for ever, a lost connection is renewed without a word), so:

- each session starts with: subscribe, wait for the confirmation, then read the log from the mirror's position. What
  is published in between is heard twice and applied once;
- every confirmation of a subscription, a hole in seq, and a mark that does not follow make it read the log;
- a probe every `probe_s` looks at the log's head, tries a write and rings the channel; when no probe of our own has
  come back for `deaf_s`, the session ends and a new one begins, with jittered backoff, for ever.

It is live while its own probes come back, the store takes writes and the mirror has caught up: an event published now
would arrive. A new session is not live before its first probe has come back.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable

import structlog
from redis.exceptions import ResponseError

from livefeed.errors import Unavailable
from livefeed.feed import tasks
from livefeed.feed.admission import Admission
from livefeed.feed.log import STORE_ERRORS, Entry, Log, Pulse, Verdict
from livefeed.feed.mirror import POISON, Applied, Mirror
from livefeed.feed.position import parse
from livefeed.feed.sse import ResetReason
from livefeed.settings import Settings

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
"""Longest wait between two sessions: a process is back at most this long after Redis is."""
REASON_MAX_CHARS = 120
LOST_TOLD_S = 60.0
"""Time between two lines about a channel that stays lost for the same reason."""

LOOK_PAUSE_S = 0.1
"""Least time between two looks at the log that readers ask for: however many come with positions from the future."""

logger = structlog.get_logger()


class DeafError(Exception):
    """No probe of our own came back in time."""


class Listener:
    """Keeps a mirror true to the log. `run` is its supervised task."""

    def __init__(
        self,
        log: Log,
        mirror: Mirror,
        settings: Settings,
        *,
        on_event: Callable[[], None],
        on_restart: Callable[[ResetReason], None],
        admission: Admission,
    ) -> None:
        self._log = log
        self._mirror = mirror
        self._settings = settings
        self._on_event = on_event
        self._on_restart = on_restart
        self._admission = admission
        self._nonce = b"?" + secrets.token_hex(8).encode()
        self._synced = False
        self._heard_at = float("-inf")
        self._session_at = float("-inf")
        self._lost_at: float | None = None
        self._told: tuple[str, float] = ("", float("-inf"))
        self._refused_at = 0.0
        self._suspect = False
        self._nudge = asyncio.Event()
        self._waiting: set[asyncio.Future[None]] = set()
        """Readers that wait for a look at the log which begins after they came."""
        self._look_due: asyncio.TimerHandle | None = None
        self._looked_at = float("-inf")
        self.poison = 0
        """Messages that were none of ours, skipped."""
        self.sessions = 0
        """Subscriptions made so far; more than one is a reconnect."""
        self.reads = 0
        """Times that the log was read to catch up."""
        self.ahead = 0
        """Events by which the log was ahead of the mirror at the last probe."""
        self.pulse: Pulse | None = None
        """What the last probe found; None before the first."""
        self.pulse_at = float("-inf")
        """When that was (monotonic clock)."""
        self._why_lost = "the log has not been read yet"

    @property
    def live(self) -> bool:
        """Whether an event published now would arrive here."""
        return self._hears and self.pulse is not None and not self.pulse.refusal

    @property
    def _hears(self) -> bool:
        return self._synced and self.silent_s < self._settings.deaf_s

    @property
    def refusal(self) -> str:
        """Why the store refused the last probe's write; "" where it took it."""
        return self.pulse.refusal if self.pulse is not None else ""

    @property
    def why_not_live(self) -> str | None:
        """Why an event published now would not arrive here; None while it would."""
        if self.live:
            return None
        if self._hears and self.refusal:
            return f"the store refuses writes ({self.refusal[:REASON_MAX_CHARS]})"
        return self._why_lost

    @property
    def silent_s(self) -> float:
        """Seconds since a probe of our own came back in this session; infinite before the first one has."""
        return time.monotonic() - self._heard_at

    async def run(self) -> None:
        """Listen for ever; returns only by being cancelled."""
        backoff = BACKOFF_MIN_S
        while True:
            started = time.monotonic()
            try:
                await self._session()
            except (*STORE_ERRORS, Unavailable, DeafError) as error:
                self._lose(_reason(error))
            except Exception:
                # A bug of ours must not silence the feed: tell it, and begin a new session like after any other loss.
                self._lose("the listener failed; see the log")
                logger.exception("listener failed; trying again")
            self._synced = False
            if time.monotonic() - started > BACKOFF_MAX_S:
                backoff = BACKOFF_MIN_S
            await asyncio.sleep(random.uniform(backoff / 2, backoff))  # noqa: S311  (spreads load, guards nothing)
            backoff = min(backoff * 2, BACKOFF_MAX_S)

    def _lose(self, reason: str) -> None:
        """The session is over: tell it once for each reason, and again when it lasts."""
        now = time.monotonic()
        self._lost_at = self._lost_at or now
        self._why_lost = reason
        if reason != self._told[0] or now - self._told[1] > LOST_TOLD_S:
            self._told = (reason, now)
            logger.warning("listener lost the channel; trying again", reason=reason, sessions=self.sessions)

    def _echo(self) -> None:
        """A probe of our own has come back."""
        self._heard_at = time.monotonic()
        if self._lost_at is not None:
            away_s = round(self._heard_at - self._lost_at, 3)
            logger.info("listener hears the channel again", after_s=away_s, sessions=self.sessions)
            self._lost_at, self._told = None, ("", float("-inf"))

    def _felt(self, pulse: Pulse) -> None:
        """A probe was answered: tell when the store begins to refuse writes, and when it takes them again."""
        before, self.pulse, self.pulse_at = self.refusal, pulse, time.monotonic()
        self._why_lost = "no probe has come back over the channel"
        if pulse.refusal and not before:
            self._refused_at = self.pulse_at
            logger.error("the store refuses writes; nothing can be published", reason=pulse.refusal)
        elif before and not pulse.refusal:
            logger.info("the store takes writes again", after_s=round(self.pulse_at - self._refused_at, 3))

    async def confirm(self) -> None:
        """Return once all that the log held when this was called has been applied; at most `deaf_s`, live or not.

        Callers share looks at the log, however many they are: at most one is made in `LOOK_PAUSE_S`.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.add(waiter)
        if self._look_due is None:
            pause = max(self._looked_at + LOOK_PAUSE_S - time.monotonic(), 0)
            self._look_due = loop.call_later(pause, self._look)
        try:
            await asyncio.wait([waiter], timeout=self._settings.deaf_s)
        finally:
            self._waiting.discard(waiter)

    def _look(self) -> None:
        self._look_due = None
        if self._waiting and not self._suspect:  # else one is on its way
            self._suspect = True
            self._nudge.set()

    async def _session(self) -> None:
        """Subscribe, catch up, and listen until something fails."""
        channel = self._log.keys.channel
        pubsub = self._log.redis.pubsub()
        prober: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._settings.redis_timeout_s):
                await pubsub.subscribe(channel)
            self._session_at = time.monotonic()
            while True:
                message = await pubsub.get_message(timeout=self._settings.probe_s)
                if message is not None:
                    if message["type"] == "message":
                        await self._hear(message["data"])
                    elif message["type"] == "subscribe":
                        self.sessions += 1
                        if prober is not None:  # redis-py has renewed a lost connection without a word
                            logger.info("listener was subscribed anew", sessions=self.sessions)
                        await self._catch_up()
                        self._session_at = time.monotonic()
                        self._synced = True
                        if prober is None:
                            prober = asyncio.create_task(self._probe(), name="listener-probe")
                if self._suspect and self._synced:
                    self._suspect = False
                    await self._catch_up()
                if time.monotonic() - max(self._heard_at, self._session_at) > self._settings.deaf_s:
                    raise DeafError
        finally:
            self._synced = False
            self._heard_at = float("-inf")
            if prober is not None:
                await tasks.end([prober])
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped

    async def _hear(self, data: bytes) -> None:
        if data[:1] == b"?":
            process, _, streams = data.partition(b" ")
            if process == self._nonce:
                self._echo()
                self._admission.forget_silent()
            else:
                self._admission.heard(process, streams)
            return
        try:
            applied = self._mirror.apply(_entry(data))
        except POISON:
            # Not ours, or damaged: count and skip it. If an event is behind it, the next one shows the hole.
            self.poison += 1
            return
        if applied is Applied.NEXT:
            self._on_event()
        elif applied is not Applied.KNOWN:
            await self._catch_up()

    async def _catch_up(self) -> None:
        """Read the log until its head; make the mirror anew where its history is another one."""
        self.reads += 1
        self._looked_at = time.monotonic()
        waiting = list(self._waiting)  # who comes from here on may know of an event that this look does not see
        if not self._mirror.loaded:
            await self._mirror.load(self._log)
            self._on_event()
        while True:
            reading = await self._log.read(self._mirror.position)
            if reading.verdict != "ok":
                await self._restart(reading.verdict)
                continue
            for entry in reading.entries:
                applied = self._apply_from_log(entry)
                if applied in (Applied.HOLE, Applied.DIVERGED):
                    await self._restart("diverged")
                    break
            else:
                if self._mirror.position.seq >= reading.head.seq:
                    break
                if not reading.entries:  # the log says that there is more, and has it not
                    await self._restart("expired")
            self._on_event()
        self._on_event()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _apply_from_log(self, entry: Entry) -> Applied:
        try:
            return self._mirror.apply(entry)
        except POISON:
            self.poison += 1
            logger.error("the log holds an entry that cannot be read; starting over behind it", seq=entry.seq)
            return Applied.DIVERGED

    async def _restart(self, verdict: Verdict) -> None:
        known = str(self._mirror.position)
        await self._mirror.load(self._log)
        logger.warning(
            "the log's history is not the one known here; all readers get a reset",
            verdict=verdict,
            known=known,
            now=str(self._mirror.position),
        )
        # To a reader a history that is shorter than the known one is another one: its own position may be within it.
        self._on_restart("expired" if verdict == "expired" else "diverged")

    async def _probe(self) -> None:
        """Look at the log's head, try a write and ring the channel, for as long as the session lasts."""
        behind_at: int | None = None
        while True:
            try:
                async with asyncio.timeout(self._settings.deaf_s):
                    look = await self._log.read(self._mirror.position, count=0)
                    # An event may be on its way over the channel; one that was missing at the last probe too is lost.
                    lost = behind_at is not None and self._mirror.position.seq <= behind_at < look.head.seq
                    self.ahead = max(look.head.seq - self._mirror.position.seq, 0)
                    behind_at = self._mirror.position.seq if look.head.seq > self._mirror.position.seq else None
                    if look.verdict != "ok" or lost:
                        self._suspect = True
                    self._felt(await self._log.probe(b"%b %d" % (self._nonce, self._admission.streams)))
            except (*STORE_ERRORS, Unavailable) as error:
                self._why_lost = _reason(error)
            try:
                async with asyncio.timeout(self._settings.probe_s):
                    await self._nudge.wait()
            except TimeoutError:
                pass
            self._nudge.clear()


def _entry(data: bytes) -> Entry:
    """The entry that a message carries: ``seq-mark time id LF body``.

    :raises ValueError: when it is none.
    """
    head, found, body = data.partition(b"\n")
    place, time_ms, id = head.decode("ascii").split(" ")
    position = parse(place)
    if not found or position is None:
        raise ValueError("not an entry")
    return Entry(position.seq, position.mark, int(time_ms), id, False, body)


def _reason(error: Exception) -> str:
    if isinstance(error, DeafError):
        return "no probe came back over the channel"
    cause = error.__cause__ or error
    if isinstance(cause, ResponseError):  # it answers, and says no: LOADING, MASTERDOWN, NOAUTH...
        return f"the store refuses ({str(cause)[:REASON_MAX_CHARS]})"
    return f"the store does not answer ({type(cause).__name__})"
