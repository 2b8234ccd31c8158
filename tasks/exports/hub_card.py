"""The card of a Hugging Face folder: how to load it, what is in it, whose it is, how good it is, how it was made."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.dataset import IndexRow, Split
from schemas.text import as_markdown
from tasks.exports.running import Told
from tasks.report.stats import Stats, collect, top
from tasks.shard.card import audited, front

_LOAD = """\
# Interaction captions with instance mask tracks

Short clips; for each the caption, ⟨subject, verb, object⟩ interactions with character spans and ratings, and one mask
track per instance over all frames.

## How to load it

```python
import datasets

data = datasets.load_dataset("path/to/this/folder", split="{split}").cast_column("mp4", datasets.Video(decode=False))
sample = data[0]
sample["txt"], sample["json"]["interactions"], sample["tracks.json"]["tracks"], sample["idmap.png"]
```

Masks are COCO run lengths: `pycocotools.mask.decode(sample["tracks.json"]["tracks"]["id1"][0])`, null where nothing is
visible. Of the JSON columns, `sample["json"]["provenance"]` says where a clip came from.
`streaming=True` works too, as does plain webdataset on `data/*.tar`.
"""

_LIMITS = """\
## Limits

- Labels come from models and carry their faults, at every step: captions, boxes, masks, ratings.
- Only interactions that can be seen are meant; what people think or feel is not.
- Small things are missed more often, and few clips have more than five instances.
- Splits are by look-alike videos, so a held-out clip has no twin in training as far as perceptual hashes tell.
"""


def hub_card(told: Told, audit: Mapping[str, Any] | None) -> str:
    """The card. Text from outside (nouns, sources, licences) stands in it as text alone."""
    stats = collect(_rows(told))
    splits = Counter(row.split for row in _rows(told))
    licences = Counter((row.dataset, row.license or "not stated") for row in _rows(told))
    head = front(
        splits, "data/", ["license: other", "tags:", "- video", "- segmentation", "- human-object-interaction"]
    )
    parts = [
        _LOAD.format(split="train" if splits["train"] else "validation"),
        _figures(stats, splits),
        "## Licences\n\nThe clips keep the licence of the video that they were cut from; each sample names it.\n\n"
        + _table(("source", "licence", "clips"), ((*k, n) for k, n in sorted(licences.items()))),
        audited(audit),
        _made(told),
        _LIMITS,
    ]
    return "\n".join([*head, "\n".join(parts)])


def _rows(told: Told) -> Iterable[IndexRow]:
    return (IndexRow.model_validate(line["row"]) for line in told.lines())


def _figures(stats: Stats, splits: Mapping[Split, int]) -> str:
    acts = sum(map(sum, stats.joint))
    lines = [
        ("clips", sum(splits.values())),
        *((f"… {split}", n) for split, n in sorted(splits.items())),
        ("hours", f"{stats.seconds / 3600:.2f}"),
        ("interactions", acts),
        ("instances", sum(n * count for n, count in stats.instances.items())),
    ]
    firm = [(level, sum(stats.joint[level - 1]), sum(row[level - 1] for row in stats.joint)) for level in range(1, 6)]
    return "\n".join([
        "## What is in it\n",
        _table(("", "number"), lines),
        _table(("rating", "contactness", "dynamism"), firm),
        _table(("verb", "interactions"), top(stats.verbs, 15)),
        _table(("class", "instances"), top(stats.nouns, 15)),
    ])  # fmt: skip


def _made(told: Told) -> str:
    models = sorted({model for line in told.lines() for model in line["made"]["models"]})
    prompts = sorted({line["made"]["prompts"] for line in told.lines()})
    captions = Counter(line["made"]["captions"] for line in told.lines())
    rows = [
        *(("model", model) for model in models),
        *(("prompts", version) for version in prompts),
        *((f"captions by {by}", n) for by, n in sorted(captions.items())),
        *((f"fingerprint of {stage}", f"`{value}`") for stage, value in told.account.fingerprints.items()),
        ("filter", told.plan["filter"] or "none"),
        ("index of the dataset", f"`{told.plan['dataset']}`"),
        *((f"left out: {reason}", n) for reason, n in told.left_out.items()),
    ]
    return "## How it was made\n\nBy `matrix_data build` and `matrix_data export --format hf`.\n\n" + _table(
        ("", ""), rows
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    lines += [" | ".join(map(as_markdown, row)) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)
