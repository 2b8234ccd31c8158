"""`matrix_data workers`: Prefect workers of this machine, one or more a GPU, under one command.

Each runs one flow run at a time and sees one GPU. None is restarted: whoever starts this command (systemd, compose)
does that. Ctrl-C and SIGTERM end them all within half a minute; their flow runs lose at most the batches under way.
"""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated

import psutil
import typer

from flows.cli.base import app, leave
from flows.cli.server import prefect_client
from schemas.text import visible
from tasks.errors import UserError

RUNS_S, WORKER_S = 20.0, 8.0
"""How long flow runs, and then their worker, may take to end when they are asked to."""

MARK = "MATRIX_DATA_WORKER"
"""Environment variable by which we know a worker's processes again when it is gone."""


@app.command()
def workers(
    pool: Annotated[str, typer.Option(help="Work pool, of type process; made where there is none.")],
    per_gpu: Annotated[int, typer.Option(min=1, help="Workers a GPU.")] = 1,
    count: Annotated[int | None, typer.Option(min=1, help="So many workers that see no GPU, instead.")] = None,
    with_healthcheck: Annotated[
        bool, typer.Option("--with-healthcheck", help="The first of them answers at port 8080, /health.")
    ] = False,
) -> None:
    """Start this machine's workers and stay with them: one a GPU, or --count of them without one."""
    crew = plan(pool, per_gpu, count)
    if with_healthcheck:
        crew[0] = replace(crew[0], more=("--with-healthcheck",))
    make_pool(pool)
    from flows.chunk_flow import CHECKOUT
    from flows.server.pools import deploy_chunks

    deploy_chunks(pool)
    os.environ[CHECKOUT] = str(Path.cwd())
    leave(run_crew(crew))


@dataclass(frozen=True, eq=False)
class Member:
    """A worker to start: its name within the pool, and what its environment differs in."""

    name: str
    pool: str
    env: Mapping[str, str]
    more: Sequence[str] = ()
    """Further options of `prefect worker start`."""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def command(self) -> list[str]:
        """One flow run at a time: a second would load its models beside the first one's."""
        of_pool = ["--pool", self.pool, "--type", "process", "--name", self.name, "--limit", "1"]
        return [sys.executable, "-m", "prefect", "worker", "start", *of_pool, *self.more]


def plan(pool: str, per_gpu: int, count: int | None) -> list[Member]:
    """The workers of this machine. UserError where there is neither a GPU nor a count."""
    host = socket.gethostname()
    if count is not None:
        return [Member(f"{host}-{pool}-{i}", pool, {"CUDA_VISIBLE_DEVICES": ""}) for i in range(count)]
    gpus = visible_gpus()
    if not gpus:
        raise UserError("no GPU is seen here: give --count N for workers without one")
    return [
        Member(f"{host}-{pool}-gpu{gpu}.{i}", pool, {"CUDA_VISIBLE_DEVICES": gpu})
        for gpu in gpus
        for i in range(per_gpu)
    ]


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may hold, one by one: those that it holds now, or all that torch sees."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    try:
        import torch
    except ModuleNotFoundError:
        raise UserError("torch is not installed, so nobody counts the GPUs: give --count N, or install it") from None
    return [str(i) for i in range(torch.cuda.device_count())]


def make_pool(pool: str) -> None:
    """Make the work pool before the workers start: each of them would try to. UserError where it is of another type."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with prefect_client() as server:
        try:
            server.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))
        except ObjectAlreadyExists:
            there = server.read_work_pool(pool).type
            if there != "process":
                raise UserError(f"work pool {pool} is of type {there}, not process: give another --pool") from None


def run_crew(crew: Sequence[Member]) -> int:
    """Start them, pass on what they print, wait for all to end. The exit code of the first that failed by itself."""
    ended = queue.SimpleQueue[Member | None]()  # None: we are asked to stop
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.put(None))
    at_work = {member: start(member) for member in crew}
    for member, process in at_work.items():
        threading.Thread(target=forward, args=(member, process, ended), daemon=True).start()
    failed, asked = 0, False
    while at_work:
        if (gone := ended.get()) is None:
            for member, process in at_work.items():
                threading.Thread(target=stop, args=(member, process.pid, asked)).start()
            asked = True
            continue
        code = at_work.pop(gone).wait()
        code = 128 - code if code < 0 else code
        if code and not asked:
            print(f"[{gone.name}] ended with exit code {code}; {len(at_work)} still at work", flush=True)
            failed = failed or code
        # A flow run outlives a worker that was killed, and would hold its GPU.
        threading.Thread(target=stop, args=(gone,)).start()
    return failed


def start(member: Member) -> subprocess.Popen[str]:
    """Its own session, so that a Ctrl-C at the terminal reaches it by us alone."""
    return subprocess.Popen(
        member.command,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **member.env, MARK: member.mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def forward(member: Member, process: subprocess.Popen[str], ended: "queue.SimpleQueue[Member | None]") -> None:
    """Its lines with its name before them, until it ends."""
    output: IO[str] = process.stdout  # type: ignore[assignment] # it is a pipe
    for line in output:
        print(f"[{member.name}] {visible(line.rstrip())}", flush=True)
    process.wait()
    ended.put(member)


def stop(member: Member, worker: int = 0, at_once: bool = False) -> None:
    """End a member: its flow runs, then the worker of this process id if it lives; what takes too long is killed.

    In this order, for a worker that ends kills its runs before they can say on the server that they have ended.
    """
    if not at_once:
        runs = runs_of(member, worker)
        signal_all(runs, signal.SIGTERM)
        psutil.wait_procs(runs, timeout=RUNS_S)
        rest = [process for process in family(member) if process.pid == worker]
        signal_all([*rest, *runs_of(member, worker)], signal.SIGTERM)
        psutil.wait_procs(rest, timeout=WORKER_S)
    signal_all(family(member), signal.SIGKILL)


def family(member: Member) -> list[psutil.Process]:
    """The worker and all that it started, also what has outlived it: they carry its mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == member.mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def runs_of(member: Member, worker: int) -> list[psutil.Process]:
    """The processes of its flow runs, without what those started: a run ends its own, in its own way."""
    mine = {process.pid: process for process in family(member)}
    inner = set(mine) - {worker}
    return [process for pid, process in mine.items() if pid != worker and process.ppid() not in inner]


def signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Signal those that are still there. psutil looks at start times: an id that has a new owner is left alone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
