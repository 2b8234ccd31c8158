"""Stage `review` over a small store: what people say becomes rows, waits, lapses, and travels beside shards."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.batches import run_batch
from flows.chunk import Chunk
from flows.context import Context
from flows.settings import BuildSettings
from schemas import Captioned, Curated, Deduped, Proposed, Row, Status, Tracked, TrackFile, Verified
from schemas.dataset import IndexRow
from schemas.labels import read_labels, relabel
from schemas.review import REVIEW_FILE, Reviewed
from tasks.media.clips import encode_mask
from tasks.review.journal import Journal
from tasks.review.patches import Act, Decide, Finish, Op, Paint
from tasks.review.sidecar import outdated
from tasks.review.stage import SPEC, ReviewSettings
from tasks.review.words import NOTHING, Reviewable, Said
from tasks.shard.entry import build_entry, entry_of
from tests.builders import FINGERPRINTS, make_case

CHUNK = "00000"
BEFORE = {
    "dedupe": Deduped,
    "caption": Captioned,
    "propose": Proposed,
    "verify": Verified,
    "track": Tracked,
    "curate": Curated,
}


class Place:
    """A store with three curated clips, and people who say something of them."""

    def __init__(self, root, **settings):
        made = ReviewSettings(second_share=0.0, **settings)
        self.context = Context(BuildSettings(source=str(root / "raw"), out=str(root / "out"), review=made))
        self.cases = {}
        for seed in range(3):
            case = make_case(self.context.folder, seed, frames=5, things=2)
            self.cases[case.clip.clip_id] = case
        self.keys = sorted(self.cases)
        for stage, kind in BEFORE.items():
            self.put(stage, {key: case.of(kind) for key, case in self.cases.items()})
        self.journal = Journal(self.context.folder)

    def put(self, stage, payloads):
        with self.context.lease(stage, CHUNK):
            rows = [Row(key=key, status=Status.ACCEPTED, payload=payload) for key, payload in payloads.items()]
            self.context.open(stage, CHUNK).write(rows)

    def say(self, clip: str, *ops: Op, who: str = "ann"):
        self.journal.claim(clip, who, 60)
        tracks = Reviewable(self.cases[clip]).digests
        for op in ops:
            seen = len(self.journal.patches(clip).get(who, ()))
            self.journal.append(clip, who, seen, op, tracks, "", 60)
        self.journal.release(clip, who)

    def run(self) -> dict[str, Row[Reviewed]]:
        work = self.context.at_work("review")
        self.told = list(SPEC.before(work))
        with self.context.lease("review", CHUNK):
            run_batch(Chunk(self.context, CHUNK), "review", self.keys)
        store = self.context.store("review")
        self.told += SPEC.after(work)
        return {row.key: row for row in store.read(sorted(store.keys()))}


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.journal.close()


def accept(*ids: str) -> list[Op]:
    return [Decide(id=name, decision="accept") for name in ids]


def test_a_clip_that_nobody_has_looked_at_passes_as_curate_left_it(place):
    for key, row in place.run().items():
        assert row.payload == Reviewable(place.cases[key]).unreviewed(NOTHING) and row.payload.review == ()
    assert place.told == [] and not place.journal.exists


def test_decisions_are_taken_into_row_and_shard(place):
    kept, gone, mended = place.keys
    place.say(kept, *accept("id1", "id2"), Decide(id="id3", decision="drop", reason="drift"), Finish())
    place.say(gone, Decide(id="id1", decision="drop", reason="swap"), *accept("id2", "id3"), Finish())
    mask = np.zeros((96, 144), bool)
    mask[10:40, 20:60] = True
    paint = Paint(id="id2", frame=2, masks=(encode_mask(mask),))
    place.say(mended, *accept("id1", "id3"), Decide(id="id2", decision="fix", reason="jitter"), paint, Finish())
    rows = place.run()
    assert rows[kept].payload.ids == ("id1", "id2") and [a.object for a in rows[kept].payload.interactions] == ["id2"]
    assert rows[kept].payload.dropped[0].reason == "drift"
    assert rows[gone].reason == "dropped_in_review" and rows[gone].detail.startswith("ann: id1 swap")
    payload = rows[mended].payload
    assert [(one.id, one.decision, one.note) for one in payload.review] == [
        ("id1", "accept", ""), ("id2", "fix", "jitter"), ("id3", "accept", ""),
    ]  # fmt: skip
    entry = build_entry(place.cases[mended].plus(payload), FINGERPRINTS)
    assert encode_mask(mask).encode() in entry.files["tracks.json"] and entry.sample.review == payload.review


def test_the_pages_address_is_one_that_a_browser_opens_as_a_page():
    with pytest.raises(ValueError, match="url"):
        ReviewSettings(url="javascript:alert(1)")


def test_a_build_that_waits_leaves_clips_pending_until_the_share_is_reached(tmp_path):
    place = Place(tmp_path, wait=0.6, url="http://reviewers/")
    first, second, _ = place.keys
    assert place.run() == {}
    assert place.told == ["3 of 3 clips wait for people (review.wait 0.6): http://reviewers/"]
    assert outdated(place.context.at_work("review"))
    place.say(first, *accept("id1", "id2", "id3"), Finish())
    assert list(place.run()) == [first]
    place.say(second, *accept("id1", "id2", "id3"))
    assert list(place.run()) == [first], "not finished yet"
    place.say(second, Finish())
    assert list(place.run()) == place.keys, "two of three are enough, and the last passes as it is"
    place.journal.close()


def test_what_is_said_later_is_taken_up_until_the_clip_is_in_a_shard(place):
    key = place.keys[0]
    assert place.run()[key].payload.review == ()
    place.say(key, Decide(id="id1", decision="drop", reason="drift"), *accept("id2", "id3"), Finish())
    assert place.run()[key].reason == "dropped_in_review" and "1 clips are taken up again" in place.told[0]
    place.run()
    assert place.told == [], "what has not changed is not done again"
    place.say(key, *accept("id1"), Finish(), who="ann")
    assert {one.by for one in place.run()[key].payload.review} == {"ann"}


def test_a_decision_lapses_with_its_track_and_is_told(place):
    key = place.keys[0]
    place.say(key, *accept("id1", "id2", "id3"), Finish())
    case = place.cases[key]
    tracked = case.of(Tracked)
    other = tracked.tracks[0].model_copy(update={"masks": (None, *tracked.tracks[0].masks[1:])})
    with place.context.lease("track", CHUNK):
        store = place.context.open("track", CHUNK)
        store.forget([key])
        payload = tracked.model_copy(update={"tracks": (other, *tracked.tracks[1:])})
        store.write([Row(key=key, status=Status.ACCEPTED, payload=payload)])
    row = place.run()[key]
    assert row.payload.review == () and row.payload.lapsed == ("ann on id1",)
    assert SPEC.remarks(place.context.store("review")) == [
        f"1 decisions no longer apply, for their tracks have changed: {key} ann on id1"
    ]


def test_labels_travel_beside_shards_that_are_finished(place):
    key, other, _ = place.keys
    rows = place.run()
    cases = {k: place.cases[k].plus(row.payload) for k, row in rows.items()}
    place.put("review", {})
    chunk = Chunk(place.context, CHUNK)
    with place.context.lease("shard", CHUNK):
        run_batch(chunk, "shard", place.keys)
    shards = {name: place.context.dataset.read(name) for name in place.context.dataset.names()}
    assert len(cases) == 3 and shards
    place.say(key, Decide(id="id2", decision="drop", reason="drift"), *accept("id1", "id3"), Finish())
    place.say(other, Decide(id="id1", decision="drop", reason="swap"), *accept("id2", "id3"), Finish())
    work = place.context.at_work("review")
    assert outdated(work)
    assert place.run()[key].payload.review == (), "the row says what the shard holds"
    assert place.told == ["6 labels of people lie beside the dataset"] and not outdated(work)
    with place.context.dataset.open(REVIEW_FILE) as stream:
        found = {
            (r["key"], r["id"]): (r["clip"], r["decision"], r["reason"]) for r in pq.read_table(stream).to_pylist()
        }
    assert found[key, "id2"] == ("keep", "drop", "drift") and found[key, "id1"] == ("keep", "accept", "")
    assert found[other, "id2"][0] == "drop"
    assert {name: place.context.dataset.read(name) for name in shards} == shards


def test_under_its_labels_a_sample_is_what_a_build_after_the_review_would_have_made(place):
    dropping, mending, _ = place.keys
    before = {k: build_entry(place.cases[k].plus(row.payload), FINGERPRINTS) for k, row in place.run().items()}
    place.put("shard", {})
    with place.context.lease("shard", CHUNK):
        run_batch(Chunk(place.context, CHUNK), "shard", place.keys)
    mask = np.zeros((96, 144), bool)
    mask[10:40, 20:60] = True
    act = Reviewable(place.cases[mending]).acts[0]
    firmer = act.model_copy(update={"rating": act.rating.model_copy(update={"contact": 1})})
    place.say(dropping, Decide(id="id2", decision="drop", reason="drift"), *accept("id1", "id3"), Finish())
    place.say(
        mending, *accept("id1", "id3"), Decide(id="id2", decision="fix", reason="jitter"),
        Paint(id="id2", frame=0, masks=(encode_mask(mask),)), Act(text=act.text, act=firmer), Finish(),
    )  # fmt: skip
    place.run()
    labels = read_labels(place.context.dataset.read)
    where = (f"train-{CHUNK}-{'0' * 16}.tar", "train", 0, 9)
    for key in (dropping, mending):
        case = place.cases[key]
        clip, users = Reviewable(case), place.journal.users()
        said = Said.of(place.journal, key, users)
        wanted = build_entry(case.plus(clip.reviewed(said, clip.outcome(said, 0.0, 0), 0.5)), FINGERPRINTS)
        there = before[key]
        found = entry_of(
            *relabel(there.sample, TrackFile.model_validate_json(there.files["tracks.json"]), labels.of(key))
        )
        assert found.sample == wanted.sample and found.files == wanted.files != there.files
        old = IndexRow.of(there.sample, *where)
        assert labels.row(old) == IndexRow.of(wanted.sample, *where) != old
    place.say(dropping, Decide(id="id1", decision="drop", reason="swap"), Finish())
    place.run()
    assert read_labels(place.context.dataset.read).dropped == {dropping}


def test_two_tracks_of_one_class_on_one_thing(place):
    case = place.cases[place.keys[0]]
    captioned, tracked = case.of(Captioned), case.of(Tracked)
    twins = tuple(i.model_copy(update={"cls": "box"}) if i.id != "id1" else i for i in captioned.instances)
    double = tracked.tracks[1].model_copy(update={"id": "id3"})
    case = case.plus(
        captioned.model_copy(update={"instances": twins}),
        tracked.model_copy(update={"tracks": (*tracked.tracks[:2], double)}),
    )
    place.cases[place.keys[0]] = case
    place.say(place.keys[0], *accept("id1", "id2", "id3"), Finish())
    clip = Reviewable(case)
    said = replace(NOTHING, patches=place.journal.patches(clip.clip), state="x")
    reviewed = clip.reviewed(said, clip.outcome(said, 0.0, 0), 0.5)
    assert reviewed.ids == ("id1", "id2") and reviewed.dropped[0].reason == "same_as_other"
