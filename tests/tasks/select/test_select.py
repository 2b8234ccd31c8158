import hashlib
import random

from schemas import Reason, SourceFile, SourceVideo
from tasks.scan.listing import Found
from tasks.select.deciding import SelectSettings, select
from tasks.select.names import Names
from tasks.select.sidecar import NAMED_ORPHANS, CaptionRow, Captions

DEFAULT = SelectSettings()
ROOT = "/bucket"


def file(name: str, content: str | None = None, version: str = "1") -> tuple[str, SourceFile]:
    digest = hashlib.sha256((content or name).encode()).hexdigest()
    found = listed(name, version)
    return found.key, SourceFile(uri=found.uri, name=name, size_bytes=9, version=version, digest=digest)


def listed(name: str, version: str = "1") -> Found:
    return Found(f"{ROOT}/{name}", name, 9, version)


def row(name: str, caption: str | None = "A man pushes a box.", problem: str | None = None) -> CaptionRow:
    return CaptionRow(name, f"line of {name}", caption, "set", "MIT", problem)


def rows_of(new, known, captions, settings=DEFAULT, all_files=(), hashed=()):
    """All rows that are decided."""
    decided = select(dict(new), known, captions, settings, all_files, hashed)
    return [*decided.files, *decided.captions]


def run(new, captions, known=(), settings=DEFAULT, others=(), earlier=()):
    """Outcome by file name: the source, or the reason; orphaned rows under their detail.

    others: files that are only listed; earlier: files that were hashed before, whatever became of them.
    """
    all_files = [listed(f.name, f.version) for _, f in (*new, *earlier)] + [listed(n) for n in others]
    hashed = [f for _, f in (*new, *earlier)]
    rows = rows_of(new, known, Captions(tuple(captions)), settings, all_files, hashed)
    names = {key: f.name for key, f in new}
    return {names.get(r.key, r.detail): r.payload or r.reason for r in rows}


def test_each_content_becomes_one_source_with_its_caption_and_origin():
    result = run([file("a.mp4"), file("b.mp4")], [row("a.mp4", "One."), row("b.mp4", "Two.")])
    assert [result[n].caption for n in ("a.mp4", "b.mp4")] == ["One.", "Two."]
    assert (result["a.mp4"].dataset, result["a.mp4"].license) == ("set", "MIT")
    assert result["a.mp4"].source_id == file("a.mp4")[1].digest[:16]


def test_equal_contents_are_one_source_with_every_name_and_the_first_caption():
    new = [file("z.mp4", "same"), file("a.mp4", "same"), file("m.mp4", "same")]
    result = run(new, [row("z.mp4", "Z."), row("m.mp4", "M.")])
    assert result["a.mp4"].uris == ("/bucket/a.mp4", "/bucket/m.mp4", "/bucket/z.mp4")
    assert result["a.mp4"].caption == "M." and result["m.mp4"] == result["z.mp4"] == Reason.DUPLICATE


def test_duplicate_says_whose_and_that_its_own_caption_is_not_used():
    rows = rows_of(
        [file("a.mp4", "x"), file("b.mp4", "x")], [], Captions((row("a.mp4", "A."), row("b.mp4", "B."))), DEFAULT
    )
    (duplicate,) = [r for r in rows if r.reason]
    assert "a.mp4" in duplicate.detail and "not used" in duplicate.detail


def test_known_content_stays_as_it_is_even_when_a_new_name_sorts_first():
    (known,) = run([file("m.mp4", "x")], [row("m.mp4", "M.")]).values()
    result = run([file("a.mp4", "x")], [row("m.mp4", "M."), row("a.mp4", "A.")], [known], others=["m.mp4"])
    assert result == {"a.mp4": Reason.DUPLICATE}


def test_missing_empty_and_bad_captions_have_their_own_reasons():
    new = [file("none.mp4"), file("empty.mp4"), file("bad.mp4")]
    captions = [row("empty.mp4", None), row("bad.mp4", None, "the caption is not valid UTF-8")]
    assert run(new, captions) == {
        "none.mp4": Reason.NO_CAPTION, "empty.mp4": Reason.NO_CAPTION, "bad.mp4": Reason.BAD_CAPTION}  # fmt: skip
    result = run(new, captions, settings=SelectSettings(allow_uncaptioned=True))
    assert result["none.mp4"].caption is None and result["empty.mp4"].caption is None
    assert result["bad.mp4"] == Reason.BAD_CAPTION


def test_a_good_caption_of_one_name_serves_all_names_of_that_content():
    result = run([file("a.mp4", "x"), file("b.mp4", "x")], [row("a.mp4", None, "torn"), row("b.mp4", "B.")])
    assert result["a.mp4"].caption == "B." and result["b.mp4"] == Reason.DUPLICATE


def test_rows_without_a_video_are_rejected_under_a_key_of_their_own():
    captions = Captions((row("gone.mp4"), row("line 7", None, "not a JSON object")))
    first = rows_of([], [], captions, DEFAULT)
    assert {r.reason for r in first} == {Reason.NO_VIDEO, Reason.BAD_CAPTION}
    assert rows_of([], [], captions, DEFAULT) == first


def test_rows_of_files_dealt_with_earlier_are_no_orphans():
    assert run([], [row("rejected.mp4")], others=["rejected.mp4"]) == {}
    (known,) = run([file("a.mp4")], [row("a.mp4")]).values()
    assert run([], [row("a.mp4")], [known]) == {}


def test_changed_caption_of_an_untouched_file_is_told_and_the_old_one_stays():
    (known,) = run([file("a.mp4")], [row("a.mp4", "Old.")]).values()
    ((detail, reason),) = run([], [row("a.mp4", "New.")], [known], others=["a.mp4"]).items()
    assert reason == Reason.CHANGED_CAPTION and "another folder" in detail


def test_changed_caption_of_a_touched_file_is_told_once():
    (known,) = run([file("a.mp4", "x")], [row("a.mp4", "Old.")]).values()
    touched = file("a.mp4", "x", version="2")
    assert run([touched], [row("a.mp4", "New.")], [known]) == {"a.mp4": Reason.CHANGED_CAPTION}
    assert run([touched], [row("a.mp4", "Old.")], [known]) == {"a.mp4": Reason.DUPLICATE}


def test_other_captions_of_known_duplicates_are_no_changes():
    result = run([file("a.mp4", "x"), file("b.mp4", "x")], [row("a.mp4", "A."), row("b.mp4", "B.")])
    known = [r for r in result.values() if isinstance(r, SourceVideo)]
    assert run([], [row("a.mp4", "A."), row("b.mp4", "B.")], known, others=["a.mp4", "b.mp4"]) == {}


def test_changed_content_under_an_old_name_is_new_content():
    (known,) = run([file("a.mp4", "old")], [row("a.mp4", "Old.")]).values()
    result = run([file("a.mp4", "new", version="2")], [row("a.mp4", "New.")], [known])
    assert result["a.mp4"].caption == "New." and result["a.mp4"].digest != known.digest


def test_names_match_by_path_then_file_name_then_stem():
    names = ["a/x.mp4", "b/y.mp4", "c/17.mp4", "d/z.webm", "e/f/w.mp4"]
    captions = [
        row("a/x.mp4", "1."),
        row("y.mp4", "2."),
        row("17", "3."),
        row("z.avi", "4."),
        row("/old/e/f/w.mp4", "5."),
    ]
    result = run([file(n) for n in names], captions)
    assert [result[n].caption for n in names] == ["1.", "2.", "3.", "4.", "5."]


def test_a_row_never_goes_to_a_file_in_another_folder():
    result = run([file("b/x.mp4")], [row("a/x.mp4")])
    assert result["b/x.mp4"] == Reason.NO_CAPTION and Reason.NO_VIDEO in result.values()


def test_the_exact_name_wins_and_leaves_the_rest_without():
    result = run([file("x.mp4"), file("b/x.mp4")], [row("x.mp4", "Mine.")])
    assert result["x.mp4"].caption == "Mine." and result["b/x.mp4"] == Reason.NO_CAPTION


def test_a_row_that_fits_two_videos_is_marked_for_both():
    rows = rows_of([file("a/x.mp4"), file("b/x.mp4")], [], Captions((row("x.mp4"),)), DEFAULT)
    assert [r.reason for r in rows] == [Reason.BAD_CAPTION] * 2 and "a/x.mp4, b/x.mp4" in rows[0].detail


def test_a_row_that_fitted_two_videos_is_not_given_to_a_third():
    result = run([file("c/x.mp4")], [row("x.mp4")], others=["a/x.mp4", "b/x.mp4"])
    assert result == {"c/x.mp4": Reason.BAD_CAPTION}


def test_a_row_that_belongs_to_a_known_video_is_not_given_to_a_new_one_of_that_name():
    (known,) = run([file("a/x.mp4")], [row("x.mp4")]).values()
    assert run([file("b/x.mp4")], [row("x.mp4")], [known])["b/x.mp4"] == Reason.BAD_CAPTION


def test_a_row_that_fits_two_names_of_one_content_is_plain():
    assert run([file("a/x.mp4", "s"), file("b/x.mp4", "s")], [row("x.mp4", "S.")])["a/x.mp4"].caption == "S."


def test_two_rows_for_one_video_must_agree():
    assert run([file("a.mp4")], [row("a.mp4", "Same."), row("a.mp4", "Same.")])["a.mp4"].caption == "Same."
    assert run([file("a.mp4")], [row("a.mp4", "One."), row("a.mp4", "Two.")]) == {"a.mp4": Reason.BAD_CAPTION}


def test_composed_and_decomposed_unicode_are_one_name():
    assert run([file("cafe\u0301.mp4")], [row("caf\u00e9.mp4", "Yes.")])["cafe\u0301.mp4"].caption == "Yes."


def test_order_of_input_does_not_matter():
    new = [file(f"{d}/{n}.mp4", f"content {n % 4}") for d in "ab" for n in range(6)]
    captions = [row(f"{n}.mp4", f"Caption {n}.") for n in range(5)] + [row("a/5.mp4", "Five."), row("lost")]
    expected = run(new, captions)
    for seed in range(5):
        rng = random.Random(seed)
        assert run(rng.sample(new, len(new)), captions) == expected


def test_eleven_thousand_rows_with_foreign_paths_are_matched():
    new = [file(f"part_{n % 7}/{n}/video.mp4") for n in range(11_000)]
    captions = [row(f"/mnt/old/part_{n % 7}/{n}/video.mp4", f"Caption {n}.") for n in range(11_000)]
    result = run(new, captions)
    assert all(result[f"part_{n % 7}/{n}/video.mp4"].caption == f"Caption {n}." for n in range(11_000))


def many(count: int, caption: str = "Somebody pushes a box."):
    files = [file(f"{n:03}.mp4") for n in range(count)]
    return files, [row(f.name, caption) for _, f in files]


def test_a_caption_that_many_contents_share_describes_none_of_them():
    files, captions = many(6)
    assert set(run(files, captions).values()) == {Reason.SHARED_CAPTION}
    assert all(isinstance(end, SourceVideo) for end in run(files[:5], captions[:5]).values())
    assert set(run(files[:3], captions[:3], settings=SelectSettings(max_videos_per_caption=2)).values()) == {
        Reason.SHARED_CAPTION
    }
    (rejected, *_) = rows_of(files, [], Captions(tuple(captions)), DEFAULT)
    assert "6 different videos" in rejected.detail and "select.max_videos_per_caption" in rejected.detail


def test_only_the_videos_with_that_caption_are_rejected():
    files, captions = many(53)
    result = run([*files, file("own.mp4")], [*captions, row("own.mp4", "A cat sits.")])
    assert result.pop("own.mp4").caption == "A cat sits."
    assert set(result.values()) == {Reason.SHARED_CAPTION}


def test_copies_of_one_content_do_not_share_a_caption_with_each_other():
    files = [file(f"{n}.mp4", "the same") for n in range(20)]
    result = run(files, [row(f.name) for _, f in files])
    assert list(result.values()).count(Reason.DUPLICATE) == 19 and isinstance(result["0.mp4"], SourceVideo)
    (known,) = [end for end in result.values() if isinstance(end, SourceVideo)]
    later, captions = [file("z.mp4", "other")], [row(f.name) for _, f in files] + [row("z.mp4")]
    assert isinstance(run(later, captions, [known], earlier=files)["z.mp4"], SourceVideo)


def test_a_shared_caption_ends_the_same_in_any_order_and_when_more_come():
    files, captions = many(9)
    rng = random.Random(1)
    for _ in range(5):
        assert set(run(rng.sample(files, 9), rng.sample(captions, 9)).values()) == {Reason.SHARED_CAPTION}
    # One that comes after nine were rejected, with or without its row in the table before, ends as they did.
    assert run(files[8:], captions, earlier=files[:8]) == {"008.mp4": Reason.SHARED_CAPTION}


def test_those_on_record_stay_and_count():
    files, captions = many(8)
    known = list(run(files[:4], captions[:4]).values())
    assert set(run(files[4:], captions, known, earlier=files[:4]).values()) == {Reason.SHARED_CAPTION}
    assert isinstance(run(files[4:5], captions[:5], known, earlier=files[:4])["004.mp4"], SourceVideo)


def test_videos_without_a_caption_share_none():
    files, _ = many(9)
    result = run(files, [], settings=SelectSettings(allow_uncaptioned=True))
    assert all(isinstance(end, SourceVideo) for end in result.values())


def test_orphans_are_named_up_to_a_number_and_counted_beyond():
    orphans = [row(f"gone_{n}.mp4") for n in range(NAMED_ORPHANS + 3)]
    rows = rows_of([], [], Captions(tuple(orphans), beyond=7), DEFAULT)
    assert len(rows) == NAMED_ORPHANS + 1 and {r.reason for r in rows} == {Reason.NO_VIDEO}
    (rest,) = [r for r in rows if "further" in r.detail]
    assert rest.detail.startswith("10 further caption rows")
    assert rows_of([], [], Captions(tuple(orphans), beyond=7), DEFAULT) == rows
    assert rest.key not in {r.key for r in rows_of([], [], Captions(tuple(orphans), beyond=8), DEFAULT)}
    assert len(rows_of([], [], Captions(tuple(orphans[:NAMED_ORPHANS])), DEFAULT)) == NAMED_ORPHANS


def test_thousands_of_rows_and_files_of_one_name_are_no_more_work_than_others():
    new = [file(f"{n}/video.mp4") for n in range(2000)]
    result = run(new, [row("video.mp4", f"Caption {n}.") for n in range(2000)])
    assert set(result.values()) == {Reason.BAD_CAPTION}


def test_names_that_may_be_meant_are_those_that_a_row_can_fit():
    videos = ["a/x.mp4", "b/17.webm", "caf\u00e9.mp4", "c.d/y"]
    rows = ["x", "x.mp4", "x.avi", "a/x", "/old/a/x.mp4", "b/x.mp4", "17", "17.0", "q/17.mp4", "cafe\u0301", "y", "z",
            "d/y", "c.d/y.mp4", "", "."]  # fmt: skip
    names = Names(videos)
    for name in rows:
        kept = run([], [row(name)], others=videos) == {}
        assert names.may_mean(name) or not kept, name
    assert [name for name in rows if not names.may_mean(name)] == ["b/x.mp4", "q/17.mp4", "z", "d/y", "", "."]
