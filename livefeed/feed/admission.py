"""Admission: how many streams may be open, in all, in this process and from one address, and what is kept for others.

Every stream has a **place** from its opening to its end; places of one address share an object that counts them, so a
connect and an end cost a dictionary look-up each, and an address without streams costs nothing. Over a limit a stream
is answered (200, a `retry`, the end), never refused: any other answer would close a browser's EventSource for ever.

An address is the connection's own, or what trusted proxies say it is: `X-Forwarded-For` is read from the right, and
the first hop that is no trusted proxy is the reader. An IPv6 address counts by its /64, which is what one household
gets. Where only trusted machines are named (a reader on this machine, or a proxy that forwards no address) nobody can
be told apart, and there is no limit by address.

The limit over all processes is an approximation: each tells its count with its probe, once in `probe_s`, so that
together they may admit too many for that long; a process that has not been heard for `HEARD_S` counts no more.
"""

from __future__ import annotations

import ipaddress
import resource
import time
from collections.abc import Iterable, Iterator
from typing import Literal

import structlog

from livefeed.settings import Settings

STREAMS_RESERVE = 256
"""Descriptors kept from streams: for pages, the desk, health and Redis while the streams are full."""
CONNECTIONS_RESERVE = 96
"""Descriptors kept from all connections: Redis's pool of 50, its subscription, open files, the loop's own."""
HOPS_MAX = 8
"""Most trusted hops that are followed in X-Forwarded-For: no chain of proxies is longer, a forger's is."""
HEARD_S = 10.0
"""How long another process's count holds without being told again."""
LOG_S = 10.0
"""Least time between two log lines about streams turned away: an attack must not fill the log."""

Limit = Literal["address", "process", "total"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

logger = structlog.get_logger()


class Place:
    """The open streams of one address."""

    __slots__ = ("address", "streams")

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.streams = 0


class Admission:
    """Counts a process's streams, and says which further ones it admits."""

    def __init__(self, settings: Settings) -> None:
        descriptors = descriptor_limit()
        # Of a limit so low that the reserves would leave nothing, a quarter goes to streams and a half to connections.
        room = max(descriptors - STREAMS_RESERVE, descriptors // 4)
        self.stream_max = min(settings.stream_max or room, room)
        self.connection_max = max(descriptors - CONNECTIONS_RESERVE, descriptors // 2)
        """Most connections, streams included."""
        self._address_max = settings.stream_max_per_address
        self._total_max = settings.stream_max_total
        self._trusted = settings.trusted_networks
        self._anyone = Place(None)
        self._places: dict[str, Place] = {}
        self._others: dict[bytes, tuple[int, float]] = {}
        """Streams of the other processes, and when each told."""
        self.others = 0
        """Their sum."""
        self.streams = 0
        """Open streams of this process, handed over and iterated."""
        self._told_at = float("-inf")
        self._untold = 0

    # Places

    def refusal(self, address: str | None) -> Limit | None:
        """The limit that a further stream of `address` would be over; None when it is admitted."""
        if self.streams >= self.stream_max:
            return "process"
        if self._total_max and self.streams + self.others >= self._total_max:
            return "total"
        if self._address_max and address is not None:
            place = self._places.get(address)
            if place is not None and place.streams >= self._address_max:
                return "address"
        return None

    def enter(self, address: str | None) -> Place:
        """Take a place; whoever takes it leaves it."""
        if address is None:
            place = self._anyone
        else:
            place = self._places.get(address) or self._places.setdefault(address, Place(address))
        place.streams += 1
        self.streams += 1
        return place

    def leave(self, place: Place) -> None:
        """Give a place back."""
        place.streams -= 1
        self.streams -= 1
        if not place.streams and place.address is not None:
            del self._places[place.address]

    def tell(self, limit: Limit, address: str | None) -> None:
        """Log that a stream was turned away, at most every `LOG_S`."""
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at >= LOG_S:
            logger.warning("streams are turned away", limit=limit, address=address, count=self._untold)
            self._told_at, self._untold = now, 0

    # Other processes

    def heard(self, process: bytes, streams: bytes) -> None:
        """Another process has told its count; what cannot be read is skipped."""
        if not (streams.isdigit() and len(streams) < 10):
            return
        now = time.monotonic()
        self._others[process] = int(streams), now
        for gone in [process for process, (_, at) in self._others.items() if now - at > HEARD_S]:
            del self._others[gone]
        self.others = sum(streams for streams, _ in self._others.values())

    def forget_silent(self) -> None:
        """Nobody else need be there to be heard: drop the counts that were told too long ago."""
        limit = time.monotonic() - HEARD_S
        if any(at < limit for _, at in self._others.values()):
            self._others = {process: told for process, told in self._others.items() if told[1] >= limit}
            self.others = sum(streams for streams, _ in self._others.values())

    # Addresses

    def address(self, peer: str | None, forwarded: Iterable[str]) -> str | None:
        """Whom a connection's streams are counted for; None where nobody can be told apart.

        :param peer: the connection's own address.
        :param forwarded: the `X-Forwarded-For` headers, in their order.
        """
        reader = _parse(peer or "")
        hops = _from_the_right(forwarded)
        for _ in range(HOPS_MAX):
            if reader is None or not self._is_trusted(reader):
                break
            reader = _parse(next(hops, ""))
        if reader is None or self._is_trusted(reader):
            return None
        if isinstance(reader, ipaddress.IPv4Address):
            return str(reader)
        return f"{ipaddress.IPv6Address(int(reader) >> 64 << 64)}/64"

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _from_the_right(headers: Iterable[str]) -> Iterator[str]:
    """The hops that X-Forwarded-For names, the nearest first; split no further than they are asked for."""
    for header in reversed(list(headers)):
        rest = header
        while rest:
            rest, _, hop = rest.rpartition(",")
            yield hop


def _parse(hop: str) -> Address | None:
    """An address as proxies write it: with a port or brackets too, IPv4 also as IPv6. None for anything else."""
    hop = hop.strip()
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        address = ipaddress.ip_address(hop)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def descriptor_limit() -> int:
    """How many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1_000_000
