"""A look at what training batches really hold: numbers in the terminal, a contact sheet for every interaction.

    inspect(config.data, "train", tokenizer, grid, Path("build/inspect"))

What is shown is taken from the batch itself: the coloured words of a caption are those under the tokens that carry a
role's weight, not the spans they came from.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from matrix_train.attention.grid import Grid
from matrix_train.attention.roles import ROLES
from matrix_train.data import Batch, BatchStream, DataConfig, Split, open_stream
from matrix_train.data.sheet import Sheet, Stretch, draw_sheet, role_colour
from matrix_train.errors import UserError


@dataclass(frozen=True)
class Inspection:
    """What `inspect` saw. `bad` by reason, one a key; `skips` as `Batch.skips`."""

    samples: int
    aligned: int
    bad: dict[str, int]
    skips: dict[str, int]
    sheets: tuple[Path, ...]


def inspect(
    config: DataConfig,
    split: Split,
    tokenizer: PreTrainedTokenizerFast,
    grid: Grid,
    out: Path,
    batches: int = 1,
    batch_size: int = 4,
    seed: int = 0,
    position: int = 0,
    console: Console | None = None,
) -> Inspection:
    """Prints what `batches` batches hold and writes a sheet for each of their interactions into the folder `out`.

    The batches are those that training with this seed and batch size meets from `position` on. UserError as
    `open_stream`, and where `out` cannot be written.
    """
    console = console or Console()
    alone = config.model_copy(update={"workers": 0})
    aligned, sheets = 0, list[Path]()
    with open_stream(alone, split, tokenizer, grid, batch_size, seed, position=position) as stream:
        console.print(
            f"{config.dataset}: {len(stream.dataset)} samples in split {split}, "
            f"{stream.plan.batches_per_epoch} batches of {batch_size} an epoch"
        )
        for _ in range(batches):
            batch = next(stream)
            aligned += int(batch.aligned.sum())
            console.print(tensor_table(batch))
            for i, k in ((i, k) for i, acts in enumerate(batch.interactions) for k in range(len(acts))):
                sheet = make_sheet(batch, i, k, stream, grid)
                _print_sample(console, sheet)
                sheets.append(_save(sheet, out / f"{batch.position:06d}-{i}-{batch.keys[i]}-{k}.png"))
        bad = Counter(str(entry.reason) for entry in stream.bad.values())
        found = Inspection(stream.samples, aligned, dict(bad), dict(stream.skips), tuple(sheets))
        console.print(_counts(found))
        for entry in stream.bad.values():
            console.print(Text(f"bad: {entry}"))
    console.print(f"{len(sheets)} contact sheets in {out}")
    return found


def tensor_table(batch: Batch) -> Table:
    """Shape, type and range of every tensor of a batch."""
    table = Table("tensor", "shape", "dtype", "from", "to", title=f"epoch {batch.epoch}, position {batch.position}")
    tensors = {
        **{name: value for name, value in vars(batch).items() if isinstance(value, Tensor)},
        "roles.text.index": batch.roles.text.index,
        "roles.text.weight": batch.roles.text.weight,
        "roles.video.index": batch.roles.video.index,
        "roles.video.weight": batch.roles.video.weight,
    }
    for name, tensor in tensors.items():
        shape = " × ".join(map(str, tensor.shape))
        ends = (f"{float(tensor.min()):.4g}", f"{float(tensor.max()):.4g}")
        table.add_row(name, shape, str(tensor.dtype).removeprefix("torch."), *ends)
    return table


def make_sheet(batch: Batch, i: int, k: int, stream: BatchStream, grid: Grid) -> Sheet:
    """The picture's parts for the k-th interaction of the i-th sample. Instances without a role in any interaction are
    read from the shard again."""
    key, act = batch.keys[i], batch.interactions[i][k]
    data = stream.dataset
    tokens = role_tokens(batch, i, k)
    stretches = coloured(data.tokenizer, batch.prompts[i], tokens, batch.input_ids.shape[1])
    words = {role: _said(stretches, role) for role in ROLES}
    held = dict(zip(batch.ids[i], batch.masks[i].bool().numpy(), strict=False))
    masks = {name: held[name] for name in dict.fromkeys((act.subject, act.object, *held))}
    tracks = data.entry(data.rows[key]).masks
    for name in tracks.runs:
        if name not in masks:
            filled = tracks.fill(name, data.geometry.taken)
            masks[name] = data.geometry.labels(filled, bool(batch.flipped[i]))
    cells = batch.roles.video.dense(grid.cells)[i, _of(k), : grid.height * grid.width] > 0
    cells = cells.view(-1, grid.height, grid.width)
    notes = ["mirrored"] * bool(batch.flipped[i]) + ["no grounding: no role tokens"] * (not any(tokens.values()))
    return Sheet(
        title=" · ".join([key, data.rows[key].shard, f"epoch {batch.epoch}", act.text, *notes]),
        stretches=stretches,
        legend=tuple(words.items()),
        ids={"subject": act.subject, "object": act.object},
        frames=batch.video[i].permute(0, 2, 3, 1).numpy(),
        masks=masks,
        id_map=np.ascontiguousarray(batch.id_map[i].permute(1, 2, 0).numpy()),
        cells={role: cells[ROLES.index(role)].numpy() for role in ("subject", "object")},
    )


def _of(k: int) -> slice:
    """Where the k-th interaction's roles stand on the role axis."""
    return slice(k * len(ROLES), (k + 1) * len(ROLES))


def role_tokens(batch: Batch, i: int, k: int) -> dict[str, list[int]]:
    """Token indices that carry weight, by role of the k-th interaction."""
    weights = batch.roles.text.dense(batch.input_ids.shape[1])[i, _of(k)]
    return {role: torch.nonzero(row).flatten().tolist() for role, row in zip(ROLES, weights, strict=True)}


def coloured(
    tokenizer: PreTrainedTokenizerFast, caption: str, tokens: dict[str, list[int]], length: int
) -> tuple[Stretch, ...]:
    """The caption in stretches of equal roles, by the offsets of the tokens given. length: of the prompt."""
    offsets = tokenizer(caption, return_offsets_mapping=True, add_special_tokens=False, verbose=False)["offset_mapping"]
    room = length - tokenizer.num_special_tokens_to_add()
    end = offsets[room - 1][1] if len(offsets) > room else len(caption)
    roles: list[tuple[str, ...]] = [()] * len(caption)
    for role, indices in tokens.items():
        for start, stop in (offsets[index] for index in indices):
            for at in range(start, stop):
                # Two tokens may share a character, as where one sign stands for several letters.
                roles[at] = roles[at] if role in roles[at] else (*roles[at], role)
    for blank in re.finditer(r"(?<=\S)\s+(?=\S)", caption):
        # The fast tokenizer's offsets leave blanks out; between two words of a role they are its own.
        if roles[blank.start() - 1] == roles[blank.end()]:
            roles[blank.start() : blank.end()] = [roles[blank.end()]] * len(blank.group())
    stretches: list[Stretch] = []
    for at, character in enumerate(caption):
        cut = at >= end
        if stretches and (stretches[-1].roles, stretches[-1].cut) == (roles[at], cut):
            stretches[-1] = Stretch(stretches[-1].text + character, roles[at], cut)
        else:
            stretches.append(Stretch(character, roles[at], cut))
    return tuple(stretches)


def _said(stretches: tuple[Stretch, ...], role: str) -> str:
    """The words of a role, an ellipsis where it is split."""
    parts: list[str] = []
    for before, stretch in zip((None, *stretches), stretches, strict=False):
        if role in stretch.roles:
            joined = before is not None and role in before.roles
            parts.append(stretch.text if joined or not parts else f" … {stretch.text}")
    return " ".join("".join(parts).split()) or "no tokens"


def _print_sample(console: Console, sheet: Sheet) -> None:
    caption = Text("  ")
    for stretch in sheet.stretches:
        ink = "#{:02x}{:02x}{:02x}".format(*role_colour(sheet, stretch.roles[0])) if stretch.roles else ""
        caption.append(stretch.text, f"reverse {ink}" if ink else "dim" if stretch.cut else "")
    console.print(Text(sheet.title, "bold"), soft_wrap=True)
    console.print(caption)
    for role, words in sheet.legend:
        line = f"  {role:8}{sheet.ids.get(role, ''):5}{words!r}"
        if role in sheet.ids:
            masks = sheet.masks[sheet.ids[role]]
            visible = int(masks.any(axis=(1, 2)).sum())
            line += f"  visible in {visible} of {len(masks)} frames, {masks.mean():.1%} of the picture, "
            line += f"{int(sheet.cells[role].sum())} query cells"
        console.print(Text(line), soft_wrap=True)


def _counts(found: Inspection) -> Table:
    table = Table("counted", "number", title="counts")
    rows = {"samples": found.samples, "aligned": found.aligned}
    rows |= {f"passed over: {reason}": count for reason, count in found.skips.items()}
    rows |= {f"bad: {reason}": count for reason, count in found.bad.items()}
    for name, count in rows.items():
        table.add_row(name, str(count))
    return table


def _save(sheet: Sheet, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_sheet(sheet).save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    return path
