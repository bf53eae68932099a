"""The ways to a Redis of one's own: TLS with a password, Sentinel through a failover, the scripts on a Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis, RedisCluster

from livefeed.embedded import find_binary
from livefeed.errors import StartError
from livefeed.feed.log import Log
from livefeed.feed.position import Position
from livefeed.feed.store import address, connect
from livefeed.server import check_store
from livefeed.settings import Settings
from tests.faults.stores import Store, debian, replicated
from tests.feed.making import make, put
from tests.serving import reading, serving, until


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Short waits, for a store that the test names."""
    return dataclasses.replace(settings, tick_s=0.3, drain_s=0.0, probe_s=0.1, deaf_s=0.6, redis_timeout_s=1.0)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A directory with ca.pem, and cert.pem and key.pem that it signed for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    (tmp_path / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    new = "req -newkey rsa:2048 -nodes -subj"
    for command in (
        f"{new} /CN=authority -x509 -days 2 -keyout ca-key.pem -out ca.pem",
        f"{new} /CN=redis -keyout key.pem -out request.pem",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile san -out cert.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


async def test_tls_and_a_password(own: Settings, certificates: Path, tmp_path: Path) -> None:
    """rediss:// with our authority and the password works; of an authority that is not known the start tells."""
    store = Store(debian(), tmp_path / "store", requirepass="geheim", tls_auth_clients="no")
    for name, file in (("cert-file", "cert"), ("key-file", "key"), ("ca-cert-file", "ca")):
        store.options[f"tls-{name}"] = str(certificates / f"{file}.pem")
    store.options |= {"port": "0", "tls-port": str(store.port)}
    at, trust = f"127.0.0.1:{store.port}/0", f"?ssl_ca_certs={certificates / 'ca.pem'}"
    with store.running():
        url = f"rediss://:geheim@{at}{trust}"
        await asyncio.to_thread(check_store, Settings(redis_url=url))
        async with serving(dataclasses.replace(own, redis_url=url)) as served, reading(served) as reader:
            for n in range(3):
                await served.publish(f"Info {n}")
            await reader.until(lambda r: r.seqs == [1, 2, 3])
        with pytest.raises(StartError, match="certificate verify failed"):
            await asyncio.to_thread(check_store, Settings(redis_url=f"rediss://:geheim@{at}"))


async def test_the_scripts_run_on_a_cluster(own: Settings, tmp_path: Path) -> None:
    """All keys of a feed share one slot: a Cluster takes every script, and the channel is heard."""
    with Store.valkey(tmp_path / "store", cluster_enabled="yes") as store:
        async with Redis.from_url(store.url) as admin:
            await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)  # type: ignore[no-untyped-call]
            async with asyncio.timeout(10):
                while b"cluster_state:ok" not in await admin.execute_command("CLUSTER", "INFO"):  # type: ignore[no-untyped-call]  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        async with RedisCluster.from_url(store.url) as redis, redis.pubsub() as pubsub:
            log = Log(redis, own)  # type: ignore[arg-type]  # it has what the log uses
            await pubsub.subscribe(log.keys.channel)
            first = await put(log, make(tags=("a", "b"), thread="fil"))
            assert [entry.seq for entry in (await log.read(Position(0, ""))).entries] == [1]
            assert len((await log.page([log.keys.index("tag", "a"), log.keys.all], "", 10)).items) == 1
            assert await log.since(0) == Position(0, "")
            async with asyncio.timeout(10):
                while (message := await pubsub.get_message(timeout=1)) is None or message["type"] != "message":
                    pass
            assert message["data"].startswith(str(first.position).encode())


@contextlib.contextmanager
def sentinel(tmp_path: Path, primary: Store) -> Iterator[Store]:
    """One Sentinel that watches a primary and decides alone."""
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"sentinel monitor mymaster 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds mymaster 300\n"
        "sentinel failover-timeout mymaster 2000\n"
    )
    watcher = Store(find_binary(), tmp_path / "sentinel", str(config), "--sentinel")
    with watcher.running():
        yield watcher


async def test_a_failover_by_sentinel(own: Settings, tmp_path: Path) -> None:
    """The primary is killed: publishing is refused until the replica is promoted, then the same key succeeds, once.

    Nothing that was acknowledged and replicated is lost, and readers get no reset.
    """
    with (
        Store.valkey(tmp_path / "a") as primary,
        Store.valkey(tmp_path / "b") as replica,
        sentinel(tmp_path, primary) as watcher,
    ):
        await replicated(replica, primary)
        async with Redis.from_url(watcher.url) as asked:
            async with asyncio.timeout(15):
                while not await asked.sentinel_slaves("mymaster"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        nobody = "127.0.0.1:1"  # the first one that is asked does not answer
        there = dataclasses.replace(own, redis_url=f"redis+sentinel://{nobody},127.0.0.1:{watcher.port}/mymaster/0")
        await asyncio.to_thread(check_store, there)
        async with serving(there) as served, reading(served) as reader:
            for n in range(3):
                await served.publish(f"Info {n}")
            await replicated_to(replica, primary)
            primary.kill()
            await until(lambda: not served.feed.live, "the end of life")
            refusals, answer, key = 0, None, {**served.auth, "idempotency-key": "k"}
            async with asyncio.timeout(30):
                while answer is None or answer.status_code == 503:
                    body = {"headline": "Après", "rubric": "monde"}
                    answer = await served.client.post("/api/items", json=body, headers=key)
                    refusals += answer.status_code == 503
                    await asyncio.sleep(0.05)
            assert refusals
            assert answer.status_code == 201, answer.text
            await until(lambda: served.feed.live, "life on the new primary")
            await reader.until(lambda r: len(r.items) == 4)
            assert reader.seqs == [1, 2, 3, 4]
            assert reader.of("reset") == []
        async with Redis.from_url(replica.url) as new:
            assert await new.xlen("lf:{main}:log") == 4


async def replicated_to(replica: Store, primary: Store) -> None:
    """Return when a replica has all that its primary has."""
    async with Redis.from_url(replica.url) as copy, Redis.from_url(primary.url) as source:
        offset = (await source.info("replication"))["master_repl_offset"]
        async with asyncio.timeout(10):
            while (await copy.info("replication"))["slave_repl_offset"] < offset:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://host:26379",
        "redis+sentinel://host:26379/",
        "redis+sentinel://host:26379/name/x",
        "redis+sentinel://host:port/name/0",
        "redis+sentinel://,/name/0",
        "http+sentinel://host/name/0",
        "unix+sentinel://host/name/0",
    ],
)
def test_an_address_of_sentinels_that_cannot_be_read(url: str) -> None:
    """The message shows how each kind of address is written."""
    with pytest.raises(StartError, match=r"redis\+sentinel://host:26379,host2:26379/mymaster/0"):
        connect(Settings(redis_url=url))


async def test_an_address_of_sentinels_is_read_whole() -> None:
    """Credentials, database and options are the primary's; each Sentinel has its port or the usual one."""
    url = "rediss+sentinel://user:p%40ss@one,two:1234/name/3?ssl_ca_certs=/ca.pem"
    assert address(url) == "rediss+sentinel://one,two:1234/name/3"
    async with connect(Settings(redis_url=url, redis_timeout_s=2.5)) as redis:
        given = redis.connection_pool.connection_kwargs
        assert (given["username"], given["password"], given["db"]) == ("user", "p@ss", 3)
        assert (given["ssl_ca_certs"], given["socket_timeout"]) == ("/ca.pem", 2.5)
        manager = redis.connection_pool.sentinel_manager  # type: ignore[attr-defined]
        known = [one.connection_pool.connection_kwargs for one in manager.sentinels]
        assert [(k["host"], k["port"], k["ssl_ca_certs"]) for k in known] == [
            ("one", 26379, "/ca.pem"),
            ("two", 1234, "/ca.pem"),
        ]
