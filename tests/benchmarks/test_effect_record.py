"""What the effect study has measured, in a file that several sittings and machines add to."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.effect.__main__ import samples_of
from benchmarks.effect.record import Record
from benchmarks.effect.report import MEASURES


def run_of(folder: Path, values: list[float]) -> Path:
    """A run folder whose last validation has these values; the line after it is a step's."""
    folder.mkdir()
    first, last = (dict.fromkeys(MEASURES.values(), 0.0), dict(zip(MEASURES.values(), values, strict=True)))
    lines = [{"step": 0} | first, {"step": 2} | last, {"step": 2, "loss": 1.0}]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_what_is_added_is_read_by_arm_and_seed_and_by_nobody_with_other_settings(tmp_path: Path) -> None:
    record = Record(tmp_path / "measured.jsonl", {"steps": 2, "arms": "a"})
    assert record.read() == {}
    for seed in (1, 0):
        record.add("+ SGA", seed, run_of(tmp_path / str(seed), [seed + place / 10 for place in range(len(MEASURES))]))
    again = Record(record.path, {"steps": 2, "arms": "a"})
    assert again.read().keys() == {("+ SGA", 0), ("+ SGA", 1)}
    assert again.values("+ SGA", (0, 1))["AAS v2v"] == [0.1, 1.1]
    with pytest.raises(SystemExit, match=r"was measured with arms a, not b: give another file"):
        Record(record.path, {"steps": 2, "arms": "b"}).read()
    record.path.write_text(record.path.read_text()[:-5])
    with pytest.raises(SystemExit, match="cut off"):
        again.read()


def test_the_same_clips_built_in_another_folder_are_the_same_samples(tmp_path: Path) -> None:
    def built(folder: str, keys: list[str], caption: str) -> Path:
        """The entries of a shard lie elsewhere where its provenance, with the place of the raw video, is longer."""
        made = tmp_path / folder
        made.mkdir()
        rows = [
            {
                "key": key, "shard": f"{folder}.tar", "offset": n * len(folder), "bytes": len(folder),
                "caption": caption, "uri": f"{folder}/{key}",
            }
            for n, key in enumerate(keys)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows), made / "index.parquet")
        return made

    here = samples_of(built("here", ["a", "b"], "a cat"))
    assert samples_of(built("elsewhere", ["b", "a"], "a cat")) == here
    assert samples_of(built("other", ["a", "b"], "a dog")) != here
