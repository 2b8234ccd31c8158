"""Kills parts of a production set-up at random moments of builds over a work pool: `python -m benchmarks.kill --what`.

`worker` is a machine with two workers and the chunks' runs that they have under way; `server` is Prefect's API. What
was killed is started again, and the build until it ends well: at most AGAIN times.
"""

import random
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks import production
from benchmarks.kill import seconds_of_work, shard_bytes, start, wait_for_work
from benchmarks.processes import running

PARTS = {
    "worker": "workers of kill", "server": "Prefect's API", "services": "Prefect's services",
    "postgres": "PostgreSQL", "redis": "Redis",
}  # fmt: skip
"""Their names in `benchmarks.processes.running`."""

CHUNKS = ["--set", "run.chunk=2"]
POOL = [*CHUNKS, "--set", "run.pools={caption: kill}", "--set", "run.limits={track: 3}"]

AGAIN, SLOT_S = 4, 330.0
"""Builds after a kill until one ends well, and how long the slot of a batch that was killed may be taken."""


def kill_parts_and_compare(
    folder: Path, what: list[str], kills: int, videos: int, seed: int
) -> list[dict[str, object]]:
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
        rig = Rig(world, folder, env, random.Random(seed))
        rig.undisturbed()
        return [rig.kill(part, kills) for part in what]


class Rig:
    """Builds of one world under one set-up."""

    def __init__(self, world: Path, folder: Path, env: Mapping[str, str], dice: random.Random) -> None:
        self.world, self.folder, self.env, self.dice = world, folder, dict(env), dice
        self.span = 0.0
        self.calm: dict[str, str] = {}

    def build(self, out: Path, more: list[str]) -> subprocess.Popen[bytes]:
        return start(self.world / "raw", self.world / "captions.csv", out, self.env, more)

    def undisturbed(self) -> None:
        """The bytes that every other build has to come to, from one process, and how long one over the pool takes."""
        alone, pooled = self.folder / "alone", self.folder / "pooled"
        seconds_of_work(self.build(alone, CHUNKS), alone)
        self.span = seconds_of_work(self.build(pooled, POOL), pooled)
        self.calm = shard_bytes(alone)
        if shard_bytes(pooled) != self.calm:
            raise RuntimeError("a build over a pool differs from one in a process")

    def kill(self, part: str, kills: int) -> dict[str, object]:
        """Builds, each with one kill of the part."""
        server = next(server for server in running if server.name == PARTS[part])
        same, again, left = True, 0, 0
        began = time.monotonic()
        for number in range(kills):
            out = self.folder / f"{part}-{number}"
            build = self.build(out, POOL)
            wait_for_work(build, out)
            time.sleep(self.dice.uniform(0.0, self.span))
            server.kill()
            time.sleep(self.dice.uniform(0.0, 5.0))
            server.again()
            _, errors = build.communicate()
            tries = 0
            while build.returncode:
                print(f"{part} {number}: {build.returncode}: {errors.decode().strip().splitlines()[-1]}", flush=True)
                if (tries := tries + 1) > AGAIN:
                    raise RuntimeError(f"{part}: the build does not end well: {errors.decode()[-2000:]}")
                build = self.build(out, POOL)
                _, errors = build.communicate()
            again += tries
            same &= shard_bytes(out) == self.calm
            left += len(leases_left(out))
        return {
            "killed": part, "kills": kills, "identical": same, "builds_again": again, "leases_left": left,
            "slots_left": self.slots_left(), "seconds": round(time.monotonic() - began),
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
