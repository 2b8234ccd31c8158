"""The Hugging Face folder: its own library reads it by the lines on the card."""

import gc
import hashlib
import re
from typing import Any

import pytest

from tasks.exports.hub import Hub
from tasks.exports.running import export
from tasks.store.folder import Folder


@pytest.mark.filterwarnings("ignore")  # datasets and what it imports warn of their own deprecations and open files
def test_load_dataset_by_the_card(data, items, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "hub"
    audit = {"seed": 0, "kinds": {"object": {"asked": 200, "right": 190, "share": 0.95, "low": 0.91, "high": 0.97}}}
    export(data, Hub(Folder(str(folder)), audit))
    card = (folder / "README.md").read_text()
    assert "| object | 190 of 200 | 95.0% | 91.0% – 97.0% |" in card and "| not stated |" in card
    assert "Nobody has audited it yet" not in card and "`bbbbbbbbbbbb`" in card
    code = re.search(r"```python\n(.*?)```", card, re.S)
    assert code
    ran: dict[str, Any] = {}
    exec(code[1].replace("path/to/this/folder", str(folder)), ran)
    train = {key for key, item in items.items() if item.row.split == "train"}
    assert {row["__key__"] for row in ran["data"]} == train
    for row in ran["data"]:
        item = items[row["__key__"]]
        assert hashlib.sha256(row["mp4"]["bytes"]).hexdigest() == item.row.media_digest
        assert {k: [m and m["counts"] for m in v] for k, v in row["tracks.json"]["tracks"].items()} == {
            k: [m and m.counts for m in v] for k, v in item.tracks.tracks.items()
        }
        assert row["json"]["caption"] == row["txt"] == item.row.caption and row["idmap.png"].size == (96, 64)
    gc.collect()


def test_a_card_acts_on_nothing_from_outside(data, tmp_path):
    form = Hub(Folder(str(tmp_path)))
    export(data, form, "ids<=3")
    card = (tmp_path / "README.md").read_text()
    assert "Nobody has audited it yet" in card and "ids<=3" not in card and "| filter | ids&#60;=3 |" in card
