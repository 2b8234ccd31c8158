"""The parts of a production set-up as real processes on loopback: PostgreSQL, Redis, Prefect's API and services,
workers, a bucket, a Ray cluster. For tests and benchmarks; nothing of it is needed to use the project.

    with postgres(home) as database, redis(home) as cache, prefect_split(home, database, cache) as env: ...

Each is a context manager over a folder of its own, waited for by its health and ended by its id.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.setting.prefect_server import PREFECT, answers, client_env, server_env, serving
from benchmarks.setting.processes import Server, as_nobody, free_port, listens, started


class Missing(Exception):
    """A program or package that is not on this machine; the message says how to get it."""


def find(program: str, *places: str, how: str) -> Path:
    """A program on the PATH or in one of `places` (globs), the newest; `Missing` with `how` where there is none."""
    if found := shutil.which(program):
        return Path(found)
    for place in places:
        if there := sorted(Path("/").glob(f"{place.lstrip('/')}/{program}")):
            return there[-1]
    raise Missing(f"no {program} on this machine: {how}")


@contextmanager
def postgres(home: Path) -> Iterator[str]:
    """A PostgreSQL of its own; yields the URL that Prefect takes. It refuses root, so root runs it as nobody."""
    places, how = "/usr/lib/postgresql/*/bin", "apt-get install postgresql"
    initdb, server = find("initdb", places, how=how), find("postgres", places, how=how)
    user, port = as_nobody(), free_port()
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:  # `home` may be root's alone
        data, log = Path(folder) / "data", home / "postgres.log"
        data.mkdir()
        if user:
            for place in (folder, data):
                shutil.chown(place, user)
        made = subprocess.run(
            [initdb, "-D", data, "-U", "prefect", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"],
            cwd=folder, user=user, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stderr[-2000:]}")
        command = [server, "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-c", "fsync=off"]
        ready = [find("pg_isready", places, how=how), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect"]
        with started(
            "PostgreSQL",
            command,
            log,
            lambda: subprocess.run(ready, check=False).returncode == 0,
            user=user,
            stop=signal.SIGINT,  # its fast shutdown: SIGTERM waits for every client to go
            cwd=Path(folder),
        ):
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"


@contextmanager
def redis(home: Path) -> Iterator[int]:
    """A Redis of its own that keeps what it is told on disk; yields its port."""
    server, port = find("redis-server", how="apt-get install redis-server"), free_port()
    folder = home / "redis"
    folder.mkdir(parents=True)
    command = [server, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "yes"]
    with started("Redis", command, home / "redis.log", lambda: listens(port) and _pong(port)):
        yield port


def _pong(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as line:
        line.sendall(b"PING\r\n")
        return line.recv(16).startswith(b"+PONG")


def on_postgres_and_redis(database: str, cache: int) -> dict[str, str]:
    """The settings that make several processes one Prefect server; the same for its API and its services."""
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        # In memory, leases and what workers have still to clean up would go with the process that holds them.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
        # Three parts of it, three addresses: what is not told goes to localhost:6379.
        "PREFECT_REDIS_MESSAGING_URL": f"redis://127.0.0.1:{cache}/0",
        "PREFECT_SERVER_DOCKET_URL": f"redis://127.0.0.1:{cache}/1",
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": f"redis://127.0.0.1:{cache}/2",
    }


@contextmanager
def prefect_split(home: Path, database: str, cache: int) -> Iterator[dict[str, str]]:
    """Prefect's API without services, and its services in a process of their own; yields a client's environment."""
    env = split_env(home, database, cache)
    with prefect_api(env, home), prefect_services(env, home):
        yield client_env(env)


def split_env(home: Path, database: str, cache: int) -> dict[str, str]:
    """The environment that API and services share. `Missing` where Prefect cannot speak to Redis."""
    try:
        import prefect_redis  # noqa: F401
    except ModuleNotFoundError:
        raise Missing("no prefect-redis in this environment: install '.[server]'") from None
    return server_env(home, free_port()) | on_postgres_and_redis(database, cache)


@contextmanager
def prefect_api(env: Mapping[str, str], home: Path) -> Iterator[Server]:
    """The API and the UI alone."""
    with serving(env, home, "--no-services", name="Prefect's API") as server:
        yield server


@contextmanager
def prefect_services(env: Mapping[str, str], home: Path) -> Iterator[Server]:
    """Schedules, events, automations, expired leases. The API has to be up: it brings the database up to date."""
    from redis import Redis

    command = [*PREFECT, "server", "services", "start"]
    docket = Redis.from_url(env["PREFECT_SERVER_DOCKET_URL"])
    at_work = docket.zcard("prefect:workers")  # each process of services is one; they have no port to ask

    def ready() -> bool:
        return bool(docket.zcard("prefect:workers") > at_work)

    log = home / "services.log"
    with docket, started("Prefect's services", command, log, ready, env=env, stop=signal.SIGINT) as server:
        yield server


@contextmanager
def process_worker(env: Mapping[str, str], home: Path, pool: str, name: str = "worker") -> Iterator[Server]:
    """A worker that runs flows as processes, in this checkout. It makes the pool where there is none."""
    log = home / f"{name}.log"
    command = [*PREFECT, "worker", "start", "--pool", pool, "--type", "process", "--name", name]
    root = Path(__file__).parents[2]
    with started(f"worker {name}", command, log, lambda: "started!" in log.read_text(), env=env, cwd=root) as server:
        yield server


@contextmanager
def crew(env: Mapping[str, str], home: Path, pool: str, count: int) -> Iterator[Server]:
    """`matrix_data workers`, up when all of them are. They ask for work every two seconds, not every ten."""
    log = home / f"crew-{pool}.log"
    command = [sys.executable, "-m", "flows.cli", "workers", "--pool", pool, "--count", str(count)]

    def up() -> bool:
        return log.read_text().count("started!") >= count

    quick = {**env, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    with started(f"workers of {pool}", command, log, up, env=quick, cwd=Path(__file__).parents[2]) as server:
        yield server


@contextmanager
def bucket(home: Path) -> Iterator[str]:
    """moto's S3; yields its endpoint."""
    try:
        import moto.server  # noqa: F401
    except ModuleNotFoundError:
        raise Missing("no moto in this environment: install 'moto[server]'") from None
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with started("moto", command, home / "moto.log", lambda: answers(f"{endpoint}/moto-api/")):
        yield endpoint


@contextmanager
def ray_cluster(home: Path) -> Iterator[str]:
    """Two Ray nodes of one CPU each, and each with one GPU by its own word; yields the address of the head."""
    ray = Path(sys.executable).parent / "ray"
    if not ray.exists():
        raise Missing("no ray in this environment: install '.[ray]'")
    port = free_port()
    address = f"127.0.0.2:{port}"  # Ray takes 127.0.0.1 for the address of the machine in its network
    env = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    common = ["--block", "--num-cpus", "1", "--num-gpus", "1", "--object-store-memory", str(80 << 20)]
    head = [ray, "start", "--head", "--port", str(port), "--include-dashboard", "false", *common]
    head += ["--node-ip-address", "127.0.0.2"]
    second = [ray, "start", "--address", address, "--node-ip-address", "127.0.0.3", *common]
    status = [ray, "status", "--address", address]

    def up(nodes: int) -> bool:
        told = subprocess.run(status, capture_output=True, text=True, env=env, check=False).stdout
        return told.count(" node_") == nodes

    # Ray puts sockets below its folder, whose paths may be 107 characters long.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder, ExitStack() as nodes:
        head += ["--temp-dir", folder]
        for name, command, count in (("Ray's head", head, 1), ("Ray's second node", second, 2)):
            log = home / f"ray-{count}.log"
            nodes.enter_context(started(name, command, log, lambda count=count: up(count), env=env))  # type: ignore[misc]
        yield address
