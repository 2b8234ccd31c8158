"""Files appear whole or not at all, and lines of JSON are what they say or told."""

from pathlib import Path

import pytest

from matrix_train import files
from matrix_train.files import json_lines, whole, write_json, write_whole
from schemas import Span


def test_a_file_is_whole_or_as_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"é": (Span(start=1, end=2),)})
    assert path.read_text(encoding="utf-8").startswith('{\n  "é": [')
    before = path.read_bytes()
    with pytest.raises(OSError, match="full"), whole(path) as scratch:
        scratch.write_text("half")
        raise OSError("the disk is full")
    assert path.read_bytes() == before
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "new", b"")
    assert [one.name for one in tmp_path.rglob("*")] == ["new", "a.json"], "nothing stays beside"


def test_lines_are_records_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 20)
    path = tmp_path / "a.jsonl"
    good = b'{"start": 1, "end": 2}'
    path.write_bytes(b"\n".join([b"\xef\xbb\xbf" + good, b"", b"no", b" " * (5 << 20), b'{"start": 1}', good + b"\r"]))
    assert list(json_lines(path, Span)) == [
        (1, Span(start=1, end=2)),
        (3, "Invalid JSON: expected ident at byte 2"),
        (4, "longer than 1 MiB"),
        (5, "end: Field required"),
        (6, Span(start=1, end=2)),
    ]
