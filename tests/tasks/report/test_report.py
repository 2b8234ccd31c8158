"""The page: its numbers, and that nothing from outside can act in it."""

import base64
import html.parser
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest

from schemas import Repairs, Usage
from schemas.dataset import IndexRow
from tasks.dataset.reader import DatasetError, decode_index, read_dataset, stream
from tasks.report.gallery import Picks
from tasks.report.page import ReportData, amount, duration, funnel_rows, render, write_report
from tasks.report.stats import bare, collect
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import make_case, make_dataset

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} \u202e"


@dataclass(frozen=True)
class Line:
    stage: str
    arrived: int
    accepted: int
    rejected: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    seconds: float = 0.0
    usage: Usage | None = None


FUNNEL = [Line("scan", 10, 7, {"empty_file": 1, "unreadable": 2}, 0, 2.0), Line("caption", 7, 5, {}, 2, 0.0)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    root = tmp_path_factory.mktemp("report")
    store = Folder(str(root / "work"))
    cases = [
        make_case(store, seed, things=1 + seed % 3, frames=6, note=HOSTILE, license=HOSTILE if seed % 2 else None)
        for seed in range(8)
    ]
    return make_dataset(root, cases, ShardSettings(max_samples=3, val_share=0.3))


@pytest.fixture(scope="module")
def page(dataset: Folder) -> str:
    return render(
        ReportData(
            FUNNEL, dataset, source=HOSTILE, models={"language": HOSTILE}, fingerprints={"scan": HOSTILE}, gallery=3
        )
    )


class Reader(html.parser.HTMLParser):
    """Every tag with its attributes, and the text outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "i", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "i":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def test_nothing_is_loaded_and_nothing_runs(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    names = {name for name, _ in reader.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "img", "base", "form", "a"}
    for _, attributes in reader.tags:
        assert not [k for k in attributes if k.startswith("on")]
        for key in ("src", "href", "poster"):
            assert str(attributes.get(key, "data:")).startswith("data:")
    assert "url(" not in page and "@import" not in page
    policy = next(a["content"] for n, a in reader.tags if n == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")
    assert (
        reader.text.count("<script>alert(1)</script>") >= 3 + 3
    )  # shown as text: source, model, print, three captions
    assert "{{ 7*7 }}" in reader.text


def test_funnel_counts_are_on_the_page(page: str) -> None:
    words = re.sub(r"<[^>]+>", " ", page[page.index("<tbody>") : page.index("</tbody>")]).split()
    assert " ".join(words) == "scan 10 7 3 0 2 s 5 unreadable 2 empty_file 1 caption 7 5 0 2 0 s –"
    rows = funnel_rows(FUNNEL)
    assert rows[0].rate == 5.0 and rows[1].rate is None
    assert rows[0].share(rows[0].accepted) == 70.0


def test_statistics_are_those_of_the_samples(dataset: Folder) -> None:
    account = read_dataset(dataset)
    assert account
    stats = collect(decode_index(dataset.read("index.parquet")))
    samples = [loaded.sample for loaded in stream(dataset)]
    acts = [a for s in samples for a in s.interactions]
    assert sum(map(sum, stats.joint)) == len(acts)
    for a in acts:
        assert stats.joint[a.rating.contact - 1][a.rating.dynamism - 1] > 0
    assert stats.interactions.total() == stats.instances.total() == len(samples)
    assert dict(stats.verbs) == {v: sum(a.verb == v for a in acts) for v in {a.verb for a in acts}}
    assert stats.nouns["ball"] == sum(i.cls == "ball" for s in samples for i in s.instances)
    assert stats.sides == [0, 0, 0, 0, sum(len(s.instances) for s in samples), 0, 0, 0, 0]
    assert stats.licences["not stated"] == 4


def test_the_gallery_plays(page: str) -> None:
    videos = [a for n, a in Reader(page).tags if n == "video"]
    assert len(videos) == 3
    for video in videos:
        assert "loop" in video and "muted" in video and "autoplay" in video
        data = base64.b64decode(str(video["src"]).removeprefix("data:video/mp4;base64,"))
        with av.open(io.BytesIO(data), mode="r") as container:
            assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert len(frames) == 6 and frames[0].shape[1] == 360 and frames[0].shape[0] > 240
        assert any(not np.array_equal(frames[0], f) for f in frames[1:])


def choose(rows: list[IndexRow], count: int) -> list[IndexRow]:
    picks = Picks(count)
    assert list(picks.watch(rows)) == rows
    return picks.chosen()


def test_the_gallery_shows_different_verbs(dataset: Folder) -> None:
    rows = decode_index(dataset.read("index.parquet"))
    chosen = choose(rows, 3)
    assert choose(rows[::-1], 3) == chosen
    assert len({v for r in chosen for v in r.verbs}) >= 3
    assert len(choose(rows, 99)) == len(rows)


def test_same_data_same_page(page: str, dataset: Folder) -> None:
    data = ReportData(
        FUNNEL, dataset, source=HOSTILE, models={"language": HOSTILE}, fingerprints={"scan": HOSTILE}, gallery=3
    )
    assert render(data) == page


@pytest.mark.parametrize("empty", ["none", "no account"])
def test_a_build_without_samples_has_a_page_too(tmp_path: Path, empty: str) -> None:
    folder = None if empty == "none" else Folder(str(tmp_path / "dataset"))
    path = write_report(ReportData(FUNNEL, folder), Folder(str(tmp_path / "out")))
    text = Path(path).read_text(encoding="utf-8")
    assert path.endswith("/out/report.html") and "unreadable" in text and "<video" not in text
    assert "there is no dataset yet" in text and "none yet" in text and "Read the shards" not in text


def test_a_damaged_dataset_is_told_in_a_line(dataset: Folder, tmp_path: Path) -> None:
    copy = Folder(str(tmp_path / "d"))
    for name in dataset.names():
        copy.write(name, dataset.read(name))
    shard = next(name for name in copy.names() if name.endswith(".tar"))
    copy.write(shard, copy.read(shard)[:2000])
    with pytest.raises(DatasetError, match=rf"{shard}: .*verify"):
        render(ReportData(FUNNEL, copy))
    copy.remove(shard)
    with pytest.raises(DatasetError, match=shard):
        render(ReportData(FUNNEL, copy))
    copy.remove("index.parquet")
    with pytest.raises(DatasetError, match=r"index\.parquet is gone"):
        render(ReportData(FUNNEL, copy))


def test_words_for_numbers() -> None:
    assert [duration(s) for s in (0.0, 4.56, 125, 9000)] == ["0 s", "4.56 s", "2 min", "2.5 h"]
    assert [amount(n) for n in (12, 1500, 2_340_000, 5_100_000_000)] == ["12 bytes", "1.5 kB", "2.34 MB", "5.1 GB"]
    assert [bare(v) for v in ("is pushing", "Pushes", "has been", "picks up")] == [
        "pushing",
        "pushes",
        "been",
        "picks up",
    ]


def test_tokens_and_costs_are_shown_where_a_server_was_asked() -> None:
    spent = Usage(requests=1200, cached_requests=30, prompt_tokens=45678, completion_tokens=901, cost=0.5)
    asked = Reader(render(ReportData([*FUNNEL, Line("ground", 5, 5, usage=spent)]))).text
    for figure in ("1,200", "45,678", "901", "0.5"):
        assert figure in asked
    assert "prompt tokens" not in Reader(render(ReportData(FUNNEL))).text
    assert "mended" not in asked


def test_what_was_mended_is_told_also_where_no_server_was_asked() -> None:
    mended = Usage(repaired=Repairs(doubles=1, unused_entities=1200))
    told = Reader(render(ReportData([*FUNNEL, Line("caption", 5, 5, usage=mended)]))).text
    assert "1,200 unused entities, 1 double" in told and "prompt tokens" not in told
