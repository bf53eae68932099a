"""What Pushpin asks on behalf of each reader: an origin that answers "hold this stream, it is channel live".

Run as ``python -m bench.origin PORT``. It runs on the load's core: its part of a connect is not Pushpin's.
"""

from __future__ import annotations

import asyncio
import sys

CHANNEL = "live"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 6\r\n"
    b"Grip-Hold: stream\r\nGrip-Channel: " + CHANNEL.encode() + b"\r\n\r\n: hi\n\n"
)


class Origin(asyncio.Protocol):
    """Answers each request's head, and reads no body: GETs have none."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._transport.write(ANSWER * len(whole))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
