"""`matrix_data show` by the name of a file: each clip that was cut from it, and where it stands."""

import pytest

from flows.cli.show import list_ended, look_up
from flows.opened import open_build
from flows.settings import BuildSettings
from schemas import Deduped, Ingested, Reason, Row, SourceFile, Status
from tasks.errors import UserError
from tasks.scan.cutting import cut_listing
from tasks.scan.listing import Found
from tests.builders import bare_clip

CHUNK = "00000"


@pytest.fixture
def context(tmp_path):
    """`a/long.mp4` has three clips, one a near-duplicate, one not looked at yet; `b/long.mp4` waits to be decoded."""
    build = open_build(BuildSettings(source=str(tmp_path / "raw"), out=str(tmp_path / "out")))
    files = [Found(f"/raw/{where}/long.mp4", f"{where}/long.mp4", 1, "1") for where in "ab"]
    cut_listing(files, build.folder.below(build.place("scan")), 10)
    clips = [bare_clip(number, source=7, index=number) for number in (1, 2, 3)]
    late = bare_clip(1, source=8).source
    scanned = [SourceFile(uri=f.uri, name=f.name, size_bytes=1, version="1", digest="0" * 64) for f in files]
    rows = {
        "scan": [Row(key=f.key, status=Status.ACCEPTED, payload=p) for f, p in zip(files, scanned, strict=True)],
        "select": [
            Row(key=f.key, status=Status.ACCEPTED, payload=source)
            for f, source in zip(files, (clips[0].source, late), strict=True)
        ],
        "ingest": [
            Row(key=clips[0].source.source_id, status=Status.ACCEPTED,
                payload=Ingested(facts=clips[0].facts, clips=tuple(clips)))
        ],
        "dedupe": [
            Row(key=clips[0].clip_id, status=Status.ACCEPTED,
                payload=Deduped(clip=clips[0], group="7" * 16, nearest=None, distance=None)),
            Row(key=clips[1].clip_id, status=Status.REJECTED, reason=Reason.NEAR_DUPLICATE, detail="\x1b[31m" * 50),
        ],
    }  # fmt: skip
    for stage, some in rows.items():
        with build.lease(stage, CHUNK):
            build.open(stage, CHUNK).write(some)
    return build


def test_a_name_that_several_clips_have_lists_where_each_stands(context):
    found, text = look_up(context, "long.mp4", False)
    one, two, three = (f"{number:016x}" for number in (1, 2, 3))
    assert {line["key"]: line["ended"] for line in found["ends"]} == {
        one: "waits for caption", two: "rejected at dedupe: near_duplicate", three: "waits for dedupe",
        f"{8:016x}": "waits for ingest",
    }  # fmt: skip
    assert text[0] == "long.mp4: 3 clips" and len(text) == 5 and max(map(len, text)) < 200
    assert [line["key"] for line in look_up(context, "a/long.mp4", False)[0]["ends"]] == [two, three, one]
    assert [line["unit"] for line in look_up(context, "b/long.mp4", False)[0]["ends"]] == ["videos"]


def test_what_a_reason_ended_is_listed_with_its_file(context):
    found, text = list_ended(context, "near_duplicate")
    assert [(one["stage"], one["key"], one["file"]) for one in found["ended"]] == [
        ("dedupe", f"{2:016x}", "a/long.mp4")
    ]
    assert text[0].startswith(f"dedupe   {2:016x}  a/long.mp4  ")


@pytest.mark.parametrize("word", ["", "0", "nobody.mp4", "../a/long.mp4"])
def test_what_names_nothing_or_too_much(context, word):
    with pytest.raises(UserError, match=r"fits 3 clips, e\.g\.|no clip and no file"):
        look_up(context, word, False)
