"""`--format labels`: everything but the pixels, for videos that may not be passed on.

```
labels/00000.jsonl   a line a clip: key, sample (the entry's .json) and tracks (its .tracks.json)
sources.csv          the videos that a reader needs: SHA-256, names that it had, source, licence, clips
manifest.json        how the clips were cut, with what; SHA-256 of each file of labels. Written after them
```
Whoever has the same videos makes the same clips of them, bit for bit, for decoding, cutting and compression are
deterministic: `matrix_data rebuild` (tasks/exports/rebuilding.py).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import av

from schemas.palette import LAST
from tasks.exports.opening import Item
from tasks.exports.running import Line, Told
from tasks.exports.tables import write_table
from tasks.ingest.stage import IngestSettings
from tasks.store.folder import Folder

MANIFEST, LABELS, VERSION = "manifest.json", "labels", 1


class Labels:
    """ingest: how the build cut its clips."""

    name: ClassVar[str] = "labels"
    wanted: ClassVar[tuple[str, ...]] = ("json", "tracks.json")
    block: ClassVar[int] = 256
    last_id: ClassVar[int] = LAST

    def __init__(self, dest: Folder, ingest: IngestSettings) -> None:
        self.dest, self.ingest = dest, ingest

    def write(self, items: Iterator[Item]) -> Iterator[Line]:
        file, lines = "", []
        told: list[Line] = []
        for item in items:
            file = file or f"{LABELS}/{(item.place - 1) // self.block:05d}.jsonl"
            one = {"key": item.row.key, "sample": item.sample.dump(), "tracks": item.tracks.dump()}
            lines.append(json.dumps(one, separators=(",", ":"), ensure_ascii=False))
            origin = item.sample.provenance
            names = sorted({uri.rstrip("/").rpartition("/")[2] for uri in origin.uris})
            told.append({
                "file": file, "source": [origin.source_digest, " ".join(names), origin.dataset, origin.license or ""]
            })  # fmt: skip
        data = "".join(f"{line}\n" for line in lines).encode()
        self.dest.write(file, data)
        digest = hashlib.sha256(data).hexdigest()
        yield from ({**line, "sha256": digest} for line in told)

    def close(self, told: Told) -> None:
        clips = Counter(tuple(line["source"]) for line in told.lines())
        columns = ("sha256", "names", "source", "license", "clips")
        write_table(self.dest, "sources.csv", columns, ((*source, n) for source, n in sorted(clips.items())))
        manifest = {
            "version": VERSION,
            "ingest": self.ingest.model_dump(mode="json"),
            "shard": told.account.settings,
            "fingerprints": told.account.fingerprints,
            "made_with": made_with(),
            "files": {line["file"]: line["sha256"] for line in told.lines()},
        }
        self.dest.write(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def made_with() -> str:
    """What decodes and compresses here: with others of these the same video may give other bytes."""
    parts = (f"{name[3:]} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavcodec", "libswscale"))
    return f"PyAV {av.__version__}, {', '.join(parts)}"
