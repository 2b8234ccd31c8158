"""A new stage is one folder and one line: a copy of the packages gets one, and everything else follows.

The copy is run as a user would run it, with the toy between `curate` and `review`.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.flows.building import QUICK, sidecar
from tests.forked import forks

ROOT = Path(__file__).parents[2]

TOY = '''"""Stage `toy`: counts what is left of a clip, and leaves out those with few words."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from schemas import Captioned, Curated, Reason, Record, Row
from schemas.settings import Settings
from tasks.errors import Reject
from tasks.outcome import Case, settle_each
from tasks.spec import StageSpec


class ToySettings(Settings):
    min_words: int = Field(default=0, ge=0, description="captions of fewer words are left out")


class Toyed(Record):
    words: int
    tracks: int


def toy(cases: Sequence[Case], settings: ToySettings) -> Iterator[Row[Toyed]]:
    def one(case: Case) -> Toyed:
        words = len(case.of(Captioned).caption.split())
        if words < settings.min_words:
            raise Reject(Reason.FILTERED, f"{words} words")
        return Toyed(words=words, tracks=len(case.of(Curated).ids))

    yield from settle_each(cases, one)


SPEC = StageSpec(
    name="toy",
    settings=ToySettings,
    record=Toyed,
    needs=(Captioned, Curated),
    batch=lambda work, keys: toy(work.cases(keys), work.settings),
    rejects={Reason.FILTERED: "its caption has too few words"},
    remarks=lambda store: [f"{len(store)} clips counted"],
    lines=lambda toyed: [f"toy: {toyed.words} words"],
)
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The packages with a toy stage."""
    root = tmp_path_factory.mktemp("toy") / "packages"
    for package in ("schemas", "tasks", "flows"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tasks" / "toy").mkdir()
    (root / "tasks" / "toy" / "__init__.py").touch()
    (root / "tasks" / "toy" / "stage.py").write_text(TOY)
    stages = root / "tasks" / "stages.py"
    text = stages.read_text()
    after = "    tasks.curate.stage.SPEC,\n"
    assert after in text
    text = text.replace(after, f"{after}    tasks.toy.stage.SPEC,\n")
    stages.write_text(text.replace("import tasks.track.stage\n", "import tasks.toy.stage\nimport tasks.track.stage\n"))
    return root


@pytest.fixture
def run(copy, server, tmp_path):
    """Run the copy's `matrix_data` in the test's folder; its exit code and output."""
    out, errors = tmp_path / "told", tmp_path / "errors"
    with forks(server, ["flows.cli", "flows.build"], root=copy) as commands:

        def run(*words: object) -> tuple[int, str]:
            code = commands.start("flows.cli:main", words, out, errors, cwd=tmp_path).wait()
            assert "Traceback" not in errors.read_text(), errors.read_text()
            return code, out.read_text()

        yield run


@pytest.mark.slow
def test_a_toy_stage_runs_through_everything(run, copy, server, world, tmp_path):
    out, raw = tmp_path / "out", tmp_path / "raw"
    raw.mkdir()
    for video in (world / "raw").glob("clip_*"):
        shutil.copy2(video, raw)
    build = ("build", raw, "--captions", sidecar(world), "--out", out, *QUICK, "--json")
    code, told = run(*build)
    funnel = json.loads(told.splitlines()[-1])["funnel"]
    assert code == 0 and list(funnel)[-4:] == ["curate", "toy", "review", "shard"]
    assert funnel["toy"]["in"] == funnel["toy"]["accepted"] == funnel["curate"]["accepted"] > 0

    found = json.loads(run("status", out, "--json")[1])
    assert [line["stage"] for line in found["funnel"]][-3] == "toy" and "toy" in found["fingerprints"]
    assert found["remarks"][-1] == f"toy: {funnel['toy']['in']} clips counted"
    clip = next(
        iter(json.loads((out / "dataset" / found["fingerprints"]["shard"] / "dataset.json").read_text())["shards"])
    )
    assert clip["samples"] >= 1

    code, told = run(*build, "--set", "toy.min_words=1000")
    again = json.loads(told.splitlines()[-1])["funnel"]
    assert code == 4 and again["toy"]["rejected"] == {"filtered": funnel["toy"]["in"]}
    report = (out / "report.html").read_text()
    assert "<td>toy</td>" in report and "its caption has too few words" in report and "clips counted" in report
    assert json.loads(run("retry", out, "--rejected", "filtered", "--stage", "toy", "--json")[1]) == {
        "forgotten": {"toy": funnel["toy"]["in"]}
    }
    assert run("retry", out, "--rejected", "filtered", "--stage", "nowhere")[0] == 2

    code, told = run(*build)
    assert code == 0
    part = next(out.glob("work/toy/*/*/part-*.parquet"))
    clip_id = pq.read_table(part, columns=["key"])["key"][0].as_py()
    assert "toy: " in run("show", out, clip_id)[1]

    form = "from flows.build import build; from flows.stages import toy; print(build.parameters.model_dump())"
    environment = server | {"PYTHONPATH": str(copy)}
    command = [sys.executable, "-c", form]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "captions of fewer words are left out" in done.stdout, "the run form shows its settings"
