"""The dataset's card (`README.md` beside the shards): what it is, how to read it, and its columns for Hugging Face.

Without column types Hugging Face datasets guesses them from the first five samples, and silently leaves out what those
did not have, such as the tracks of a third ID. The card declares them, so that `load_dataset(folder)` gives everything.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.dataset import AUDIT_FILE, DatasetFile, Split
from tasks.errors import UserError
from tasks.review.audit import HUMAN
from tasks.store.folder import Folder

_SPLITS = {"train": "train", "val": "validation"}

_TEXT = """\
# Interaction captions with instance mask tracks

Made by `matrix_data build`. One entry a clip, keyed by its `clip_id`, in plain tar files:

| file | content |
|---|---|
| `.mp4` | the normalised clip, H.264 |
| `.txt` | its caption |
| `.json` | instances, interactions with character spans and ratings, anchors, checks, where it came from, its licence |
| `.tracks.json` | one COCO run-length mask (or null) per ID and frame |
| `.idmap.png` | first-frame masks as a palette image: index k is `id<k>`, 0 the background |

`index.parquet` has a row a sample with the byte range of its entry; `dataset.json` the SHA-256 of every shard.
The clips keep their sources' licences: see `license` and `uris` in each sample.

```python
import glob, webdataset
samples = webdataset.WebDataset(sorted(glob.glob("train-*.tar")), shardshuffle=False)

import datasets
samples = datasets.load_dataset("path/to/this/folder", split="train").cast_column("mp4", datasets.Video(decode=False))
```
"""


def card(account: DatasetFile, audit: Mapping[str, Any] | None) -> bytes:
    """The card of a dataset: a function of which splits it has and of its audit, so that it seldom changes."""
    return "\n".join([*front({s.split for s in account.shards}), _TEXT, audited(audit)]).encode()


def audited(audit: Mapping[str, Any] | None) -> str:
    """What people found of a seeded sample (`tasks.review.audit.figures`), as Markdown; or that nobody has looked."""
    if not audit or not audit["kinds"]:
        return "## Audit\n\nNobody has audited it yet (`matrix_data audit`): how many labels are right is not known.\n"
    lines = [
        "## Audit\n\nA seeded sample, looked at by people; shares weighted back to all clips, intervals at 95 %.\n",
        "| kind | right | share | interval | people on Synthetic Visual Genome 2 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind, one in audit["kinds"].items():
        found = f"{one['share']:.1%} | {one['low']:.1%} – {one['high']:.1%}"
        human = f"{HUMAN[kind]:.1%}" if kind in HUMAN else ""
        lines.append(f"| {kind} | {one['right']} of {one['asked']} | {found} | {human} |")
    return "\n".join([*lines, ""])


def read_audit(folder: Folder, name: str = AUDIT_FILE) -> dict[str, Any] | None:
    """The figures that an audit left in a folder; None where there are none. UserError for a damaged file."""
    try:
        found: dict[str, Any] = json.loads(folder.read(name))
        audited(found)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{folder.shown(name)} is not what `matrix_data audit` writes: remove it") from None
    return found


def front(splits: Iterable[Split], folder: str = "", more: Iterable[str] = ()) -> list[str]:
    """The lines of YAML that Hugging Face reads: title, which tars in `folder` are which split, and their columns."""
    head = ["---", "pretty_name: Interaction captions with instance mask tracks", "task_categories:", "- text-to-video"]
    head += more
    if found := sorted(splits):
        head += ["configs:", "- config_name: default", "  data_files:"]
        head += [f"  - split: {_SPLITS[s]}\n    path: {folder}{s}-*.tar" for s in found]
        head += ["dataset_info:", "  config_name: default", "  features:"]
        for name, kind in (
            ("mp4", "video"), ("txt", "string"), ("json", "json"), ("tracks.json", "json"), ("idmap.png", "image"),
            ("__key__", "string"), ("__url__", "string"),
        ):  # fmt: skip
            head += [f"  - name: {name}", f"    dtype: {kind}"]
    return [*head, "---"]
