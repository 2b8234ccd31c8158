"""Stage `select`: one source per content, each with its caption (docs/stages/select.md).

A barrier: it runs when every new file has been hashed, because a duplicate or an ambiguous caption is known only then.
The result does not depend on the order of anything that comes in.
"""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from schemas import Reason, Row, SourceFile, SourceVideo, Status
from schemas.settings import Settings
from tasks.outcome import share_time
from tasks.scan.stage import Found
from tasks.select.by_name import Matches, Video, match
from tasks.select.names import Names
from tasks.select.sidecar import NAMED_ORPHANS, CaptionRow, Captions, load_captions
from tasks.spec import StageSpec, Whole
from tasks.store.index import Link

Files = list[tuple[str, SourceFile]]


class SelectSettings(Settings):
    # How captions are matched decides which files come in; `BY_TABLE` says what is decided anew.
    not_in_rows = frozenset({"allow_uncaptioned", "max_videos_per_caption"})

    allow_uncaptioned: bool = Field(
        default=False, description="Let videos without a caption through, for a captioner to describe"
    )
    max_videos_per_caption: int = Field(
        default=5,
        ge=1,
        description="Contents that may share one caption, as windows cut from one film do. Where more do, the caption "
        "describes none of them, and those that are new are rejected",
    )


def select(
    new: Sequence[tuple[str, SourceFile]],
    known: Iterable[SourceVideo],
    captions: Captions,
    settings: SelectSettings,
    listed: Iterable[Found] = (),
    hashed: Iterable[SourceFile] = (),
) -> list[Row[SourceVideo]]:
    """One row for each new file, under its scan key, and one for each caption row that leads to no source.

    `known` are the sources on record: they and their captions stay as they are. `listed` is the whole listing and
    `hashed` what scan knows of it; without them a caption row of a file that was rejected earlier looks like an orphan,
    or as if it meant another file, and a caption that many share as if only the new ones did.
    """
    on_record = {s.digest: s for s in known}
    videos = videos_of(new, on_record.values(), listed, hashed)
    matches = match(videos, captions.rows)
    sharing = _sharing(videos, on_record, matches)
    groups: dict[str, Files] = defaultdict(list)
    for key, file in new:
        groups[file.digest].append((key, file))
    rows: list[Row[SourceVideo]] = []
    for digest, files in groups.items():
        files.sort(key=lambda entry: (entry[1].uri, entry[0]))
        if digest in on_record:
            rows += [_again(key, file, on_record[digest], matches) for key, file in files]
        else:
            rows += _first_seen(files, matches, captions, settings, sharing)
    rows += _changed(on_record.values(), matches, {file.uri for _, file in new})
    rows += _orphans([captions.rows[i] for i in matches.orphans], captions.beyond)
    return sorted({r.key: r for r in rows}.values(), key=lambda r: r.key)


def videos_of(
    new: Sequence[tuple[str, SourceFile]],
    known: Iterable[SourceVideo],
    listed: Iterable[Found],
    hashed: Iterable[SourceFile],
) -> list[Video]:
    """Every file that a caption row may mean, each once. What was just hashed goes before what is on record."""
    digests = {file.uri: file.digest for file in hashed}
    digests |= {uri: source.digest for source in known for uri in source.uris}
    files = {f.uri: Video(f.uri, f.name, digests.get(f.uri)) for f in listed}
    files |= {f.uri: Video(f.uri, f.name, f.digest) for _, f in new}
    gone = {uri: Video(uri, uri.partition("://")[2] or uri, digests[uri]) for s in known for uri in s.uris}
    return [video for _, video in sorted((gone | files).items())]


def _sharing(videos: Sequence[Video], on_record: Mapping[str, SourceVideo], matches: Matches) -> Counter[str]:
    """How many contents have each caption: those on record, and all others that the table gives one."""
    own = {digest: source.caption for digest, source in on_record.items() if source.caption}
    for video in videos:
        row = matches.row.get(video.uri)
        if row and row.caption and video.digest and video.digest not in on_record:
            own.setdefault(video.digest, row.caption)
    return Counter(own.values())


def _reject(key: str, reason: Reason, detail: str) -> Row[SourceVideo]:
    return Row(key=key, status=Status.REJECTED, reason=reason, detail=detail[:4000])


def _again(key: str, file: SourceFile, source: SourceVideo, matches: Matches) -> Row[SourceVideo]:
    """A new file, or a new version of a file, with content that is on record."""
    row = matches.row.get(file.uri)
    if row and row.caption and row.caption != source.caption:
        if file.uri in source.uris:
            return _reject(key, Reason.CHANGED_CAPTION, _kept_caption(file.name, row))
        return _reject(key, Reason.DUPLICATE, f"same content as {source.uris[0]}; its own caption is not used")
    return _reject(key, Reason.DUPLICATE, f"same content as {source.uris[0]}, which is on record")


def _first_seen(
    files: Files, matches: Matches, captions: Captions, settings: SelectSettings, sharing: Mapping[str, int]
) -> list[Row[SourceVideo]]:
    """New content. The first file by name stands for all; the caption is that of the first file that has one."""
    held = [matches.row.get(file.uri) for _, file in files]
    good = next((row for row in held if row and row.caption), None)
    if good is None:
        problems = [_problem(file, matches) for _, file in files]
        worst = next((p for p in problems if p), None)
        if worst:
            return [
                _reject(key, Reason.BAD_CAPTION, own or worst)
                for (key, _), own in zip(files, problems, strict=True)
            ]  # fmt: skip
        if not settings.allow_uncaptioned:
            return [
                _reject(key, Reason.NO_CAPTION, f"the caption row of {file.name} is empty ({row.place})" if row
                        else f"no caption row fits {file.name}")
                for (key, file), row in zip(files, held, strict=True)
            ]  # fmt: skip
    if good and good.caption and sharing[good.caption] > settings.max_videos_per_caption:
        detail = (
            f"{sharing[good.caption]} different videos have this caption ({good.place}), more than "
            f"{settings.max_videos_per_caption} (select.max_videos_per_caption)"
        )
        return [_reject(key, Reason.SHARED_CAPTION, detail) for key, _ in files]
    row = good or next((r for r in held if r), None)
    first_key, first = files[0]
    source = SourceVideo(
        source_id=first.digest[:16],
        uris=tuple(sorted({file.uri for _, file in files})),
        digest=first.digest,
        size_bytes=first.size_bytes,
        caption=row.caption if row else None,
        dataset=row.dataset if row else captions.dataset,
        license=row.license if row else captions.license,
    )
    rows: list[Row[SourceVideo]] = [Row(key=first_key, status=Status.ACCEPTED, payload=source)]
    for (key, _), own in zip(files[1:], held[1:], strict=True):
        other = "; its own caption is not used" if own and own.caption not in (None, source.caption) else ""
        rows.append(_reject(key, Reason.DUPLICATE, f"same content as {first.name}{other}"))
    return rows


def _problem(file: SourceFile, matches: Matches) -> str | None:
    if file.uri in matches.problem:
        return matches.problem[file.uri]
    row = matches.row.get(file.uri)
    return f"{row.problem} ({row.place})" if row and row.problem else None


def _changed(known: Iterable[SourceVideo], matches: Matches, new: set[str]) -> list[Row[SourceVideo]]:
    """Sources on record whose file is unchanged while the sidecar now says something else."""
    rows = []
    for source in known:
        held = [r for uri in source.uris if uri not in new and (r := matches.row.get(uri)) and r.caption]
        if held and source.caption not in {r.caption for r in held}:
            rows.append(_reject(caption_key(held[0]), Reason.CHANGED_CAPTION, _kept_caption(source.uris[0], held[0])))
    return rows


def _kept_caption(name: str, row: CaptionRow) -> str:
    return (
        f"the caption of {name} has changed ({row.place}); the one on record stays. "
        "To use the new one, build into another folder"
    )


def _orphans(rows: Sequence[CaptionRow], beyond: int) -> list[Row[SourceVideo]]:
    """The first NAMED_ORPHANS one by one, and one row that counts the others and those `beyond` that were left out."""
    named = [_orphan(row) for row in rows[:NAMED_ORPHANS]]
    others = len(rows) - len(named) + beyond
    if others:
        key = hashlib.sha256(f"captions beyond|{others}".encode()).hexdigest()[:16]
        detail = f"{others} further caption rows fit no video; the first {len(named)} stand here one by one"
        named.append(_reject(key, Reason.NO_VIDEO, detail))
    return named


def _orphan(row: CaptionRow) -> Row[SourceVideo]:
    if row.problem:
        return _reject(caption_key(row), Reason.BAD_CAPTION, f"{row.problem} ({row.place})")
    return _reject(caption_key(row), Reason.NO_VIDEO, f"no video fits the caption row {row.name!r} ({row.place})")


def caption_key(row: CaptionRow) -> str:
    """The same for the same words under the same name, so that a later build finds the row on record."""
    text = f"caption|{row.name}|{row.caption}|{row.problem}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


SEEN = "captions.sha256"
"""Beside the rows of select: digest of the caption table they were made with."""

BY_TABLE = (
    Reason.NO_CAPTION, Reason.BAD_CAPTION, Reason.NO_VIDEO, Reason.CHANGED_CAPTION, Reason.SHARED_CAPTION,
)  # fmt: skip
"""Verdicts that another caption table may lift."""


def captions_of(build: Any, names: Names | None = None) -> Captions:
    """The caption table that a build's settings name, or an empty one.

    names: of all videos; with them, most rows that mean none of them are left out.
    """
    if build.captions is None:
        return Captions()
    return load_captions(build.captions, build.sidecar, build.scan.storage_options, names)


def _stale(work: Whole) -> bool:
    """Whether the caption table is another than the one that it was decided with."""
    seen = work.folder.below(f"{SPEC.name}/{work.fingerprints[SPEC.name]}")
    return not seen.exists(SEEN) or seen.read(SEEN) != captions_of(work.build, Names(())).digest.encode()


def _whole(work: Whole) -> list[str]:
    """Decide on all hashed files that have no row yet, and on captions without a video."""
    scan, store, began = work.store("scan"), work.store(), time.perf_counter()
    hashed = {row.key: row.payload for rows in scan.scan() for row in rows if row.payload}
    known = [row.payload for rows in store.scan() for row in rows if row.payload]
    listed = list(work.listed())
    videos = videos_of(list(hashed.items()), known, listed, hashed.values())
    captions = captions_of(work.build, Names(video.name for video in videos))
    digest = captions.digest.encode()
    changed = not store.folder.exists(SEEN) or store.folder.read(SEEN) != digest
    if changed:
        store.forget([k for k, reason in store.rejected().items() if reason in BY_TABLE])
    new = [(key, hashed[key]) for key in store.pending(scan.accepted())]
    if not new and not changed:
        return []
    rows = select(new, known, captions, work.settings, listed, hashed.values())
    now = {row.key for row in rows}
    # Videos have come since for these captions, or their number is another.
    store.forget([k for k, reason in store.rejected().items() if reason in BY_TABLE and k not in now | hashed.keys()])
    on_record = store.keys()
    # Chunks are cut in the order of sources; captions without a video come last.
    fresh = sorted(
        (row for row in rows if row.key not in on_record),
        key=lambda row: (0, hashed[row.key].uri, row.key) if row.key in hashed else (1, "", row.key),
    )
    store.append(share_time(fresh, began), work.build.run.chunk)
    store.folder.write(SEEN, digest)
    return []


SPEC = StageSpec(
    name="select",
    settings=SelectSettings,
    record=SourceVideo,
    whole=_whole,
    stale=_stale,
    link=Link("payload.source_id", lambda payload: [payload["source_id"]]),
    unit="files",
    rejects={
        Reason.DUPLICATE: "the same bytes as another file, which is kept",
        Reason.NO_CAPTION: "no row of the caption table names this video",
        Reason.BAD_CAPTION: "the caption or its row cannot be used, or the row fits several videos",
        Reason.NO_VIDEO: "a caption whose video is not in the bucket",
        Reason.CHANGED_CAPTION: "a known content came back with another caption",
        Reason.SHARED_CAPTION: "more different videos have this caption than can be meant by it",
    },
)
