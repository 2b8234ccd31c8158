"""From a curated clip to its shard entry: the `Sample`, its track file and its first-frame ID map, as bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas import Captioned, Curated, Deduped, MaskRle, Proposed, Provenance, Sample, Tracked, TrackFile, Verified
from schemas.idmap import encode_id_map, id_map
from schemas.review import Reviewed
from tasks.media.clips import decode_mask
from tasks.outcome import Case

RESULTS = (Deduped, Captioned, Proposed, Verified, Tracked, Curated, Reviewed)
"""What a case must carry to become an entry."""


@dataclass(frozen=True)
class Entry:
    """What goes into the tar for one clip, besides the clip itself."""

    sample: Sample
    files: dict[str, bytes]
    """Content by suffix: txt, json, tracks.json, idmap.png."""


def build_entry(case: Case, fingerprints: Mapping[str, str]) -> Entry:
    """The entry of an accepted clip: what `review` let through. ValueError where stages disagree."""
    return entry_of(build_sample(case, fingerprints), build_tracks(case))


def entry_of(sample: Sample, tracks: TrackFile) -> Entry:
    """The entry of a sample and its masks; the ID map is drawn from those of the first frame."""
    height, width = tracks.size
    firsts = {k: masks[0] for k, masks in tracks.tracks.items() if masks and masks[0] is not None}
    first = {k: decode_mask(rle.counts, height, width) for k, rle in firsts.items()}
    files = {
        "txt": sample.caption.encode(),
        "json": _json(sample.dump()),
        "tracks.json": _json(tracks.dump()),
        "idmap.png": encode_id_map(id_map(first, height, width)),
    }
    return Entry(sample, files)


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def build_sample(case: Case, fingerprints: Mapping[str, str]) -> Sample:
    """The `.json` of a shard entry: instances, interactions and anchors in the order of the caption stage."""
    clip, captioned, verified, curated = case.clip, case.of(Captioned), case.of(Verified), case.of(Curated)
    proposed, tracked, reviewed = case.of(Proposed), case.of(Tracked), case.of(Reviewed)
    ids = set(reviewed.ids)
    instances = tuple(i for i in captioned.instances if i.id in ids)
    if {i.id for i in instances} != ids or any(not {a.subject, a.object} <= ids for a in reviewed.interactions):
        raise ValueError(f"{clip.clip_id}: review names an ID that caption does not know")
    return Sample(
        clip_id=clip.clip_id,
        caption=captioned.caption,
        width=clip.width,
        height=clip.height,
        frames=clip.frames,
        fps=clip.fps,
        instances=instances,
        interactions=reviewed.interactions,
        anchors=tuple(a for a in verified.anchors if a.id in ids),
        verdicts=tuple(v for v in verified.verdicts if v.asked in ids),
        numbers=reviewed.numbers,
        dropped=captioned.dropped + verified.dropped + curated.dropped + reviewed.dropped,
        review=reviewed.review,
        provenance=Provenance(
            uris=clip.source.uris,
            dataset=clip.source.dataset,
            license=clip.source.license,
            source_digest=clip.source.digest,
            group=case.of(Deduped).group,
            media_digest=clip.media_digest,
            facts=clip.facts,
            window=clip.window,
            geometry=clip.geometry,
            caption_by=captioned.caption_by,
            prompts=captioned.prompts,
            models=(captioned.model, proposed.detector, verified.verifier, tracked.tracker),
            fingerprints=tuple(f"{stage}={value}" for stage, value in fingerprints.items()),
        ),
    )


def build_tracks(case: Case) -> TrackFile:
    """The `.tracks.json` of a shard entry: the masks of the IDs that stay, one entry a frame; mended ones as mended."""
    clip, tracked, reviewed = case.clip, case.of(Tracked), case.of(Reviewed)
    size = (tracked.height, tracked.width)
    by_id = {t.id: t for t in (*tracked.tracks, *reviewed.tracks) if t.id in reviewed.ids}
    if set(by_id) != set(reviewed.ids) or size != (clip.height, clip.width):
        raise ValueError(f"{clip.clip_id}: tracks and clip do not belong together")
    tracks: dict[str, tuple[MaskRle | None, ...]] = {}
    for name, track in by_id.items():
        if len(track.masks) != clip.frames:
            raise ValueError(f"{clip.clip_id}: {name} has {len(track.masks)} masks for {clip.frames} frames")
        tracks[name] = tuple(m if m is None else MaskRle(size=size, counts=m) for m in track.masks)
    return TrackFile(size=size, tracks=tracks)
