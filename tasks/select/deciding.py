"""What select decides: which files are one content, and which caption belongs to it (docs/stages/select.md).

The result does not depend on the order of anything that comes in.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic import Field

from schemas import Reason, Row, SourceVideo, Status
from schemas.settings import Settings
from tasks.scan.listing import Found
from tasks.select.by_name import Matches, Video, match
from tasks.select.sidecar import NAMED_ORPHANS, CaptionRow, Captions


class File(Protocol):
    """A hashed file: a `SourceFile`, or the part of one that is needed here."""

    @property
    def uri(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


class Known(Protocol):
    """A source on record: a `SourceVideo`, or the part of one that is needed here."""

    @property
    def digest(self) -> str: ...
    @property
    def uris(self) -> Sequence[str]: ...
    @property
    def caption(self) -> str | None: ...


Files = Sequence[tuple[str, File]]


class Selection(NamedTuple):
    """What is decided. Rows of files are made when they are asked for: there may be very many."""

    files: Iterator[Row[SourceVideo]]
    """One for each new file, under its scan key, in the order of URIs."""
    captions: list[Row[SourceVideo]]
    """One for each caption row that leads to no source, by its key."""


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
    new: Mapping[str, File],
    known: Iterable[Known],
    captions: Captions,
    settings: SelectSettings,
    listed: Iterable[Found] = (),
    hashed: Iterable[File] = (),
) -> Selection:
    """Decide on new files, by their scan keys.

    `known` are the sources on record: they and their captions stay as they are. `listed` is the whole listing and
    `hashed` what scan knows of it; without them a caption row of a file that was rejected earlier looks like an orphan,
    or as if it meant another file, and a caption that many share as if only the new ones did.
    """
    on_record = {s.digest: s for s in known}
    videos = videos_of(new.values(), on_record.values(), listed, hashed)
    matches = match(videos, captions.rows)
    sharing = _sharing(videos, on_record, matches)
    rest = _changed(on_record.values(), matches, {file.uri for file in new.values()})
    rest += _orphans([captions.rows[i] for i in matches.orphans], captions.beyond)
    return Selection(
        _rows(new, on_record, matches, captions, settings, sharing),
        sorted({row.key: row for row in rest}.values(), key=lambda row: row.key),
    )


def _rows(
    new: Mapping[str, File],
    on_record: Mapping[str, Known],
    matches: Matches,
    captions: Captions,
    settings: SelectSettings,
    sharing: Mapping[str, int],
) -> Iterator[Row[SourceVideo]]:
    """A row for each new file, in the order of URIs and keys."""
    order = sorted(new, key=lambda key: (new[key].uri, key))
    seen, several = set[str](), set[str]()
    for file in new.values():
        (several if file.digest in seen else seen).add(file.digest)
    groups: dict[str, list[tuple[str, File]]] = defaultdict(list)
    for key in order:
        if new[key].digest in several:
            groups[new[key].digest].append((key, new[key]))
    made: dict[str, Row[SourceVideo]] = {}
    for key in order:
        file = new[key]
        if file.digest in on_record:
            yield _again(key, file, on_record[file.digest], matches)
            continue
        if key not in made:
            files = groups.pop(file.digest, [(key, file)])
            made |= {row.key: row for row in _first_seen(files, matches, captions, settings, sharing)}
        yield made.pop(key)


def videos_of(
    new: Iterable[File], known: Iterable[Known], listed: Iterable[Found], hashed: Iterable[File]
) -> list[Video]:
    """Every file that a caption row may mean, each once. What was just hashed goes before what is on record."""
    digests = {file.uri: file.digest for file in hashed}
    digests |= {uri: source.digest for source in known for uri in source.uris}
    videos = {file.uri: Video(file.uri, file.name, file.digest) for file in new}
    for file in listed:  # most are among those, and of a hundred thousand a second copy would show
        if file.uri not in videos:
            videos[file.uri] = Video(file.uri, file.name, digests.get(file.uri))
    for source in known:
        for uri in source.uris:
            if uri not in videos:
                videos[uri] = Video(uri, name_of(uri), digests[uri])
    return [videos[uri] for uri in sorted(videos)]


def name_of(uri: str) -> str:
    """The name of a file that is on record and no longer listed."""
    return uri.partition("://")[2] or uri


def _sharing(videos: Sequence[Video], on_record: Mapping[str, Known], matches: Matches) -> Counter[str]:
    """How many contents have each caption: those on record, and all others that the table gives one."""
    own = {digest: source.caption for digest, source in on_record.items() if source.caption}
    for video in videos:
        row = matches.row.get(video.uri)
        if row and row.caption and video.digest and video.digest not in on_record:
            own.setdefault(video.digest, row.caption)
    return Counter(own.values())


def _reject(key: str, reason: Reason, detail: str) -> Row[SourceVideo]:
    return Row(key=key, status=Status.REJECTED, reason=reason, detail=detail[:4000])


def _again(key: str, file: File, source: Known, matches: Matches) -> Row[SourceVideo]:
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


def _problem(file: File, matches: Matches) -> str | None:
    if file.uri in matches.problem:
        return matches.problem[file.uri]
    row = matches.row.get(file.uri)
    return f"{row.problem} ({row.place})" if row and row.problem else None


def _changed(known: Iterable[Known], matches: Matches, new: set[str]) -> list[Row[SourceVideo]]:
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
