"""What can be wrong within one entry of a shard, each thing one printable line. Nothing read here is trusted."""

import hashlib
import io
import itertools
from collections.abc import Iterator

import av
import numpy as np

from schemas import Sample, TrackFile
from schemas.dataset import INDEX_FILE, DatasetFile, IndexRow, ShardInfo
from schemas.idmap import decode_id_map, id_map
from schemas.rle import run_lengths
from schemas.text import one_line
from tasks.dataset.reader import Loaded, RawEntry, parse
from tasks.dataset.split import split_of
from tasks.media.clips import decode_mask
from tasks.store.check import DAMAGE


def entry_problems(
    raw: RawEntry, shard: ShardInfo, account: DatasetFile, rows: dict[str, IndexRow], deep: bool
) -> Iterator[str]:
    try:
        loaded = parse(raw)
    except DAMAGE as error:
        yield f".json or .tracks.json does not fit the schema: {one_line(error)}"
        return
    sample = loaded.sample
    yield from _same_clip(raw, loaded, account)
    share = account.settings.get("val_share")
    group = sample.provenance.group
    if isinstance(share, int | float) and split_of(group, share) != shard.split:
        yield f"its group {group} belongs to the other split than {shard.split}"
    row = rows.get(raw.key)
    if row is None:
        yield f"has no row in {INDEX_FILE}"
    elif sample.clip_id == raw.key and row != IndexRow.of(sample, shard.name, shard.split, raw.offset, raw.size):
        yield f"its row in {INDEX_FILE} says otherwise"
    yield from _spans(sample)
    yield from _tracks(sample, loaded.tracks)
    if deep:
        yield from _clip(sample, raw.files["mp4"])
        yield from _map(loaded, raw.files["idmap.png"])


def _same_clip(raw: RawEntry, loaded: Loaded, account: DatasetFile) -> Iterator[str]:
    sample = loaded.sample
    if sample.clip_id != raw.key:
        yield f".json is of clip {sample.clip_id}"
    if sample.schema_version != account.schema_version:
        yield f".json has schema version {sample.schema_version}, the dataset {account.schema_version}"
    if raw.files["txt"] != sample.caption.encode():
        yield ".txt is not the caption of the .json"
    if hashlib.sha256(raw.files["mp4"]).hexdigest() != sample.provenance.media_digest:
        yield ".mp4 is not the clip that the .json was made from"
    made = dict(part.partition("=")[::2] for part in sample.provenance.fingerprints)
    if made != account.fingerprints:
        yield "was made under other fingerprints than the dataset"


def _spans(sample: Sample) -> Iterator[str]:
    """Spans against the text. Their bounds are part of the schema."""
    caption = sample.caption
    for act in sample.interactions:
        for role in ("subject", "verb", "object"):
            spans = getattr(act.spans, role)
            if any(caption[s.start : s.end].strip() != caption[s.start : s.end] for s in spans):
                yield f"{act.text}: a span of its {role} begins or ends with space"
            elif any(_within_word(caption, place) for s in spans for place in (s.start, s.end)):
                yield f"{act.text}: a span of its {role} cuts a word"
            if any(a.end > b.start for a, b in itertools.pairwise(spans)):
                yield f"{act.text}: spans of its {role} overlap or are out of order"
        if act.source_sentence not in caption:
            yield f"{act.text}: its source sentence is not in the caption"
        if f"<{act.subject}>" not in act.text or f"<{act.object}>" not in act.text:
            yield f"{act.text}: is not about <{act.subject}> and <{act.object}>"


def _within_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _tracks(sample: Sample, tracks: TrackFile) -> Iterator[str]:
    if tracks.size != (sample.height, sample.width):
        yield f"tracks are {tracks.size[1]} x {tracks.size[0]}, the clip {sample.width} x {sample.height}"
        return
    if set(tracks.tracks) != {i.id for i in sample.instances}:
        yield "tracks and instances do not name the same IDs"
    for name, masks in tracks.tracks.items():
        if len(masks) != sample.frames:
            yield f"{name} has {len(masks)} masks for {sample.frames} frames"
        if all(m is None for m in masks):
            yield f"{name} has no mask at all"
        for t, mask in enumerate(masks):
            if mask is None:
                continue
            try:
                if mask.size != tracks.size:
                    raise ValueError(f"is {mask.size[1]} x {mask.size[0]}")
                run_lengths(mask.counts, *tracks.size)
            except ValueError as error:
                yield f"mask of {name} at frame {t}: {one_line(error)}"
                break


def _clip(sample: Sample, mp4: bytes) -> Iterator[str]:
    """Decode the clip, never further than one frame beyond what it should have."""
    frames = 0
    try:
        with av.open(io.BytesIO(mp4), mode="r", format="mp4") as container:
            stream = container.streams.video[0]
            if (stream.width, stream.height) != (sample.width, sample.height):
                yield f".mp4 is {stream.width} x {stream.height}, not {sample.width} x {sample.height}"
                return
            for _ in container.decode(stream):
                frames += 1
                if frames > sample.frames:
                    break
    except (av.FFmpegError, IndexError, *DAMAGE) as error:
        yield f".mp4 cannot be decoded: {one_line(error)}"
        return
    if frames != sample.frames:
        more = "or more " if frames > sample.frames else ""
        yield f".mp4 has {frames} {more}frames, the .json says {sample.frames}"


def _map(loaded: Loaded, png: bytes) -> Iterator[str]:
    height, width = loaded.tracks.size
    try:
        found = decode_id_map(png, height, width)
        firsts = {k: masks[0] for k, masks in loaded.tracks.tracks.items() if masks and masks[0] is not None}
        first = {k: decode_mask(rle.counts, height, width) for k, rle in firsts.items()}
    except DAMAGE as error:
        yield f".idmap.png {one_line(error)}"
        return
    if not np.array_equal(found, id_map(first, height, width)):
        yield ".idmap.png does not show the first masks"
