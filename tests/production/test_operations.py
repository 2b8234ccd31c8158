"""docs/operations.md, followed word by word: its `sh` blocks are run in order, and print what its `text` blocks say.

All happens in a network and among processes of its own (`unshare`), so that ports and addresses are those of the page
and nothing stays behind. Machines are shells with a home, a host name and an address each. What stands in for the world
is on their PATH: `scp` copies between the homes, PostgreSQL's programs run as nobody, since they refuse root. The
bucket is moto's.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from benchmarks.setting.processes import end

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
ADDRESSES = {"first": "10.0.0.1", "second": "10.0.0.2", "third": "10.0.0.3"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = ("unshare", "nsenter", "ip", "setpriv", "redis-server", "openssl", "curl", "pg_isready")

ENDED = "the block has ended"

COMPARED = """
python - <<'END'
import fsspec, hashlib
s3 = fsspec.filesystem("s3")
for out in ("world", "three"):
    names = [name for name in s3.find(f"datasets/{out}/dataset") if name.endswith(".tar")]
    print(sorted((name.rpartition("/")[2], hashlib.sha256(s3.cat(name)).hexdigest()) for name in names))
END
"""
UNKNOWN = "curl --silent --output /dev/null --write-out '%{http_code}\\n' --request POST $PREFECT_API_URL/flows/count"
NIGHTS = "prefect flow-run ls --flow-name build --state COMPLETED --limit 50"


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is run; of kind `text`, what the block before it prints."""

    line: int
    kind: str
    where: str
    text: str


def blocks() -> list[Block]:
    page = PAGE.read_text()
    found = re.finditer(r"^```(\w+) ?(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [Block(page[: at.start()].count("\n") + 1, at[1], at[2] or "first", at[3]) for at in found]


class Machine:
    """A shell that is fed blocks and keeps what they set. AssertionError with its output where a command fails."""

    def __init__(self, inside: list[str], name: str, homes: Path, path: str) -> None:
        self.home = homes / name
        self.home.mkdir()
        env = {"HOME": str(self.home), "PATH": path, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "COLUMNS": "220"}
        env |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_WORKER_QUERY_SECONDS": "2"}
        self.shell = subprocess.Popen(
            [*inside, "unshare", "--uts", "bash", "-c", f"hostname {name}; exec bash -eo pipefail"],
            cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, text: str) -> str:
        """What it prints."""
        script = self.home / "block.sh"
        script.write_text(text)
        assert self.shell.stdin and self.shell.stdout
        self.shell.stdin.write(f". {script} < /dev/null\necho '{ENDED}'\n")
        self.shell.stdin.flush()
        printed = []
        for line in self.shell.stdout:
            if line == f"{ENDED}\n":
                return "".join(printed)
            printed.append(line)
        raise AssertionError(f"a command failed of\n{text}\nprinted was\n{''.join(printed)}\n{self.logs()}")

    def logs(self) -> str:
        files = sorted((self.home / "matrix" / "logs").glob("*.log"))
        return "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in files)


@contextmanager
def namespace() -> Iterator[list[str]]:
    """Loopback, the three machines' addresses, and processes that all end with it; yields what enters it."""
    spaces = ["--net", "--pid", "--mount"]
    holder = subprocess.Popen(["unshare", *spaces, "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"])
    try:
        while not (inner := psutil.Process(holder.pid).children()) or inner[0].name() != "sleep":
            assert holder.poll() is None
            time.sleep(0.05)
        inside = ["nsenter", "--target", str(inner[0].pid), *spaces, f"--wd={ROOT}"]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        for address in ADDRESSES.values():
            subprocess.run([*inside, "ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
        yield inside
    finally:
        holder.kill()
        holder.wait()


def stand_ins(folder: Path, homes: Path) -> None:
    """Programs that a machine here has to have in another form."""
    newest = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    made = {"scp": f'cp "{homes}/first/${{2#10.0.0.1:}}" "$3"'}
    for program in ("initdb", "postgres"):
        as_nobody = f'cd "$2" && exec setpriv --reuid nobody --regid nogroup --clear-groups {newest}/{program} "$@"'
        made[program] = f'[ -d "$2" ] || install -d -o nobody -m 700 "$2"\n{as_nobody}'
    for name, text in made.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def machines() -> Iterator[dict[str, Machine]]:
    lacking = [tool for tool in NEEDED if shutil.which(tool) is None]
    if os.geteuid() != 0 or lacking:
        pytest.skip(f"following docs/operations.md needs root and {', '.join(lacking or NEEDED)}")
    with tempfile.TemporaryDirectory(prefix="ops", ignore_cleanup_errors=True) as folder, ExitStack() as ends:
        homes, programs = Path(folder), Path(folder) / "bin"
        homes.chmod(0o755)  # PostgreSQL is nobody's here
        programs.mkdir()
        stand_ins(programs, homes)
        inside = ends.enter_context(namespace())
        moto = [sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", "9000"]
        log = ends.enter_context((homes / "moto.log").open("wb"))
        ends.callback(end, subprocess.Popen([*inside, *moto], stdout=log, stderr=log))
        made = {name: Machine(inside, name, homes, f"{programs}:{SYSTEM_PATH}") for name in ADDRESSES}
        for machine in made.values():
            ends.callback(machine.shell.communicate)
            ends.callback(machine.shell.kill)
        yield made


def holds(printed: str, wanted: str) -> bool:
    """Whether these lines were printed in this order; `…` stands for anything."""
    lines = iter(printed.splitlines())
    patterns = [".*".join(map(re.escape, line.split("…"))) for line in wanted.splitlines()]
    return all(any(re.fullmatch(pattern, found.strip()) for found in lines) for pattern in patterns)


def test_every_block_of_the_page_is_run_or_marked_and_few_are_marked():
    page = blocks()
    where = {("sh", name) for name in (*ADDRESSES, "elsewhere")}
    assert {(block.kind, block.where) for block in page} == {*where, ("text", "first")}
    assert sum(line.startswith("```") for line in PAGE.read_text().splitlines()) == 2 * len(page)
    assert sum(block.where == "elsewhere" for block in page) <= 5


@pytest.mark.production
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_nightly_build_from_nothing_on_one_machine_and_on_three(machines):
    first, printed = machines["first"], ""
    for block in blocks():
        if block.kind == "text":
            assert holds(printed, block.text), f"line {block.line} wants\n{block.text}\nprinted was\n{printed}"
        elif block.where != "elsewhere":
            began = time.monotonic()
            printed = machines[block.where].run(block.text)
            print(f"line {block.line}: {time.monotonic() - began:.0f} s")
    one, three = first.run(COMPARED).splitlines()
    assert one == three and ".tar" in one, "the same shards, whether one machine made them or three"
    assert first.run(UNKNOWN).strip() == "401"
    # A night comes, with nothing new.
    before = first.run(NIGHTS).count("COMPLETED")
    # Again and again: on a busy machine the first moment may have passed before the server knows of it.
    soon = "--interval 180 --anchor-date $(date --utc --date '+30 seconds' +%Y-%m-%dT%H:%M:%SZ)"
    first.run(f"prefect deployment schedule create build/build {soon} --timezone UTC --replace --accept-yes")
    deadline = time.monotonic() + 600
    while first.run(NIGHTS).count("COMPLETED") == before:
        assert time.monotonic() < deadline, first.run("prefect flow-run ls") + first.logs()
        time.sleep(5)
