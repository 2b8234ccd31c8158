"""Labels beside a finished dataset, as `tasks/review/sidecar.py` writes them of people's decisions."""

import io
from collections.abc import Mapping

import pyarrow.parquet as pq

from schemas import Sample, TrackFile
from schemas.arrow import to_table
from schemas.dataset import INDEX_FILE
from schemas.review import REVIEW_FILE, Label
from tasks.dataset.reader import decode_index, read_parts
from tasks.store.folder import Folder


def write_labels(folder: Folder, said: Mapping[str, Mapping[str, str]]) -> None:
    """said: by sample and ID, the decision; IDs that are not named are accepted. Fix takes the first mask away."""
    labels = []
    for row in decode_index(folder.read(INDEX_FILE)):
        if row.key in said:
            (files,) = read_parts(folder, [row], ("json", "tracks.json"))
            sample = Sample.model_validate_json(files["json"])
            labels += _of(sample, TrackFile.model_validate_json(files["tracks.json"]), said[row.key])
    buffer = io.BytesIO()
    pq.write_table(to_table(labels, Label), buffer)
    folder.write(REVIEW_FILE, buffer.getvalue())


def _of(sample: Sample, tracks: TrackFile, said: Mapping[str, str]) -> list[Label]:
    lost = {name for name, decision in said.items() if decision == "drop"}
    acts = tuple(a for a in sample.interactions if not {a.subject, a.object} & lost)
    kept = [i.id for i in sample.instances if any(i.id in (a.subject, a.object) for a in acts)]
    numbers = {n.id: n for n in sample.numbers}
    masks = {
        name: (None, *(m and m.counts for m in tracks.tracks[name][1:])) for name in kept if said.get(name) == "fix"
    }
    return [
        Label(
            key=sample.clip_id, id=i.id, clip="keep" if acts else "drop", by="ann", at=1.0, applies=True,
            decision=said.get(i.id, "accept") if i.id in kept else "drop",  # type: ignore[arg-type]
            reason="" if i.id in kept else "drift", height=sample.height, width=sample.width,
            masks=masks.get(i.id, ()), numbers=numbers[i.id] if i.id in kept else None,
            interactions=acts if [i.id] == kept[:1] else (),
        )
        for i in sample.instances
    ]  # fmt: skip
