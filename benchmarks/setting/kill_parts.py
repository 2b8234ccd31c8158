"""Kills parts of a production set-up at random moments of builds over a work pool: `python -m benchmarks.kill --what`.

`worker` is a machine with two workers and the chunks' runs that they have under way; `server` is Prefect's API; `ray`
is the second of two Ray nodes, under a build in one process whose batches go to them. What was killed is started again,
and the build until it ends well: at most AGAIN times.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.kill import seconds_of_work, shard_bytes, start, wait_for_work
from benchmarks.setting import production
from benchmarks.setting.processes import running

PARTS = {
    "worker": "workers of kill", "server": "Prefect's API", "services": "Prefect's services",
    "postgres": "PostgreSQL", "redis": "Redis", "ray": "Ray's second node",
}  # fmt: skip
"""Their names in `benchmarks.setting.processes.running`."""

CHUNKS = ["--set", "run.chunk=2"]
POOL = [*CHUNKS, "--set", "run.pools={caption: kill}", "--set", "run.limits={track: 3}"]
RAY = [*CHUNKS, "--set", "run.task_runner=ray", "--set", "run.limits={track: 3}"]

AGAIN, SLOT_S = 4, 330.0
"""Builds after a kill until one ends well, and how long the slot of a batch that was killed may be taken."""


def kill_parts_and_compare(
    folder: Path, what: list[str], kills: int, videos: int, seed: int
) -> Iterator[dict[str, object]]:
    """A line for each of `what`, after `kills` kills of it. The set-up is started once."""
    from tasks.world import render_bucket

    world = render_bucket(folder / "world", videos=videos, seed=seed, level="plain", broken=False, workers=2)
    with ExitStack() as parts:
        database = parts.enter_context(production.postgres(folder))
        cache = parts.enter_context(production.redis(folder))
        env = parts.enter_context(production.prefect_split(folder, database, cache))
        env = env | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
        parts.enter_context(production.crew(env, folder, "kill", 2))
        for command in (["limits", *POOL], ["automations", "--unheard", "75"]):
            subprocess.run([sys.executable, "-m", "flows.cli", *command, "--apply"], env=env, check=True)
        if "ray" in what:
            env = env | {"RAY_ADDRESS": parts.enter_context(production.ray_cluster(folder))}
        rig = Rig(world, folder, env, random.Random(seed))
        rig.undisturbed()
        for part in what:
            yield rig.kill(part, kills)


class Rig:
    """Builds of one world under one set-up."""

    def __init__(self, world: Path, folder: Path, env: Mapping[str, str], dice: random.Random) -> None:
        self.world, self.folder, self.env, self.dice = world, folder, dict(env), dice
        self.calm: dict[str, str] = {}

    def build(self, out: Path, more: list[str]) -> subprocess.Popen[bytes]:
        return start(self.world / "raw", self.world / "captions.csv", out, self.env, more)

    def undisturbed(self) -> None:
        """The bytes that every other build has to come to, from one process."""
        alone = self.folder / "alone"
        seconds_of_work(self.build(alone, CHUNKS), alone)
        self.calm = shard_bytes(alone)

    def span(self, way: list[str], out: Path) -> float:
        """How long an undisturbed build takes this way. RuntimeError where it comes to other bytes."""
        seconds = seconds_of_work(self.build(out, way), out)
        if shard_bytes(out) != self.calm:
            raise RuntimeError(f"a build with {' '.join(way)} differs from one in a process")
        return seconds

    def kill(self, part: str, kills: int) -> dict[str, object]:
        """Builds, each with one kill of the part."""
        server = next(server for server in running if server.name == PARTS[part])
        way = RAY if part == "ray" else POOL
        same, again, left = True, 0, 0
        began = time.monotonic()
        span = self.span(way, self.folder / f"{part}-calm")
        for number in range(kills):
            out = self.folder / f"{part}-{number}"
            build = self.build(out, way)
            wait_for_work(build, out)
            time.sleep(self.dice.uniform(0.0, span))
            server.kill()
            time.sleep(self.dice.uniform(0.0, 5.0))
            server.again()
            _, errors = build.communicate()
            tries = 0
            while build.returncode:
                print(f"{part} {number}: {build.returncode}: {errors.decode().strip().splitlines()[-1]}", flush=True)
                if (tries := tries + 1) > AGAIN:
                    raise RuntimeError(f"{part}: the build does not end well: {errors.decode()[-2000:]}")
                build = self.build(out, way)
                _, errors = build.communicate()
            again += tries
            same &= shard_bytes(out) == self.calm
            left += len(leases_left(out))
        return {
            "killed": part, "kills": kills, "identical": same, "builds_again": again, "leases_left": left,
            "slots_left": self.slots_left(), "seconds": round(time.monotonic() - began), "calm_seconds": round(span, 1),
        }  # fmt: skip

    def slots_left(self) -> int:
        """Slots that are still taken when those of killed batches have run out."""
        import httpx

        end = time.monotonic() + SLOT_S
        with httpx.Client(base_url=self.env["PREFECT_API_URL"], timeout=30) as api:
            while True:
                found = api.post("/v2/concurrency_limits/filter", json={}).raise_for_status().json()
                taken = sum(limit["active_slots"] for limit in found)
                if not taken or time.monotonic() > end:
                    return int(taken)
                time.sleep(2)


def leases_left(out: Path) -> list[str]:
    """Leases of a folder that somebody still holds."""
    from tasks.store.folder import Folder
    from tasks.store.lease import others

    return others(Folder(str(out)).below("work"))
