"""Services of compose.yaml as plain processes: their very commands, environments and health checks, in our own image.

Each is alone with its files and its host name, and all share one network without a way out, in which every service's
name is an address, as in compose's. PostgreSQL and Redis are Debian's; MinIO and model servers are not to be had here.
"""

import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.docker.compose import load
from tests.docker.images import SYSTEM_PATH, Image

PASSWORDS = {"POSTGRES_PASSWORD": "pgsecret", "REDIS_PASSWORD": "rdsecret", "PREFECT_AUTH": "me:secret"} | {
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "secretsecret",
}

HEALTH = {"builder": "8080", "cpu-worker": "8081"}
"""Where workers answer after their health: containers have a loopback each, here all have one."""


class System:
    """The network, and who runs in it."""

    def __init__(self, image: Image, data: Path, network: str) -> None:
        self.image, self.data, self.network = image, data, network
        self.services = load(**PASSWORDS)

    def inside(self, *command: str) -> list[str]:
        """A command of this machine in the network."""
        return ["ip", "netns", "exec", self.network, *command]

    def run(self, name: str, *command: str) -> str:
        """`docker compose exec NAME COMMAND`."""
        return self.image.run(*command, data=self.data, network=self.network, name=name, **self.environment(name))

    def environment(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.services[name]["environment"]
        return {**found, "PREFECT_WORKER_WEBSERVER_PORT": HEALTH[name]} if name in HEALTH else found

    def check(self, name: str) -> list[str]:
        """What asks after a service's health."""
        port = HEALTH.get(name, "8080")
        return [word.replace(":8080/", f":{port}/") for word in self.services[name]["healthcheck"]["test"][1:]]

    @contextmanager
    def up(self, name: str) -> Iterator[None]:
        """`docker compose up --wait NAME`; stopped at the end. AssertionError with its log if it does not get well."""
        service = self.services[name]
        process = self.image.start(
            *service["command"], data=self.data, network=self.network, name=name, **self.environment(name)
        )
        try:
            wait(lambda: self.run(name, *self.check(name)), process)
            yield
        finally:
            stop(process)

    @contextmanager
    def postgres(self, folder: Path) -> Iterator[None]:
        """What the image's entrypoint makes of the service's environment, with Debian's newest PostgreSQL."""
        environment = self.environment("postgres")
        bins = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        folder.mkdir()
        (folder / "password").write_text(environment["POSTGRES_PASSWORD"])
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
        user = ["runuser", "-u", "postgres", "--"]
        made = [f"--username={environment['POSTGRES_USER']}", f"--pwfile={folder / 'password'}"]
        options = [*made, *environment["POSTGRES_INITDB_ARGS"].split()]
        subprocess.run([*user, bins / "initdb", "-D", folder / "db", *options], check=True, capture_output=True)
        server = [str(bins / "postgres"), "-D", str(folder / "db"), "-k", str(folder)]
        check = ["pg_isready", "--host=127.0.0.1", *self.services["postgres"]["healthcheck"]["test"][2:]]
        with self.native([*user, *server], check):
            sql = [str(bins / "createdb"), f"--host={folder}", "--username=prefect", environment["POSTGRES_DB"]]
            subprocess.run([*user, *sql], check=True)
            yield

    @contextmanager
    def redis(self, folder: Path) -> Iterator[None]:
        """The service's own command, with its folders where the test has room."""
        folder.mkdir()
        service = self.services["redis"]
        command = [re.sub(r"(?<= )/(tmp|data)\b", str(folder), word) for word in service["command"]]
        with self.native(command, service["healthcheck"]["test"][1:], **self.environment("redis")):
            yield

    @contextmanager
    def native(self, command: list[str], check: list[str], **environment: str) -> Iterator[None]:
        """A server of this machine in the network, until it is well."""
        env = {"PATH": SYSTEM_PATH, **environment}
        process = subprocess.Popen(
            self.inside(*command), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            wait(lambda: subprocess.run(self.inside(*check), env=env, check=True, capture_output=True), process)
            yield
        finally:
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """`docker stop`: asked to end. What has not after a minute is killed with all it started, and that is a failure."""
    started = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()
        for left in started:
            if left.is_running():
                left.kill()


def wait(check: Any, process: subprocess.Popen[str]) -> None:
    """Until the health check passes, two minutes at most."""
    deadline = time.monotonic() + 120
    while True:
        try:
            check()
            return
        except (AssertionError, subprocess.CalledProcessError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(f"{error}\nits log:\n{process.communicate()[0]}") from None
        time.sleep(1)


@contextmanager
def system(image: Image, data: Path, folder: Path) -> Iterator[System]:
    """Database, messages, server, services and the workers of builds and of chunks, all well."""
    network = f"matrix-{secrets.token_hex(4)}"
    hosts = Path("/etc/netns") / network
    with ExitStack() as stack:
        hosts.mkdir(parents=True)
        stack.callback(shutil.rmtree, hosts)
        made = System(image, data, network)
        (hosts / "hosts").write_text(f"127.0.0.1 localhost {' '.join(made.services)}\n")
        subprocess.run(["ip", "netns", "add", network], check=True)
        stack.callback(subprocess.run, ["ip", "netns", "delete", network], check=True)
        subprocess.run(made.inside("ip", "link", "set", "lo", "up"), check=True)
        stack.enter_context(made.postgres(folder / "postgres"))
        stack.enter_context(made.redis(folder / "redis"))
        for name in ("server", "services", "builder", "cpu-worker"):
            stack.enter_context(made.up(name))
        yield made
