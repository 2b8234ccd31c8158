"""`matrix_data compare`: the same clips under two settings, models or prompts. Needs no engine, source or Prefect."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from flows.chunk import Chunk
from flows.cli.base import Json, app, emit
from flows.cli.exports import progress
from flows.cli.world import clip_ends
from flows.context import Context
from flows.legs import CUTTER, RECORDED, SPECS
from flows.opened import context_of
from flows.tally import Tally
from schemas import Usage
from tasks.compare.differing import differ
from tasks.compare.page import NUMBERS, PAGE, exhibit, render
from tasks.compare.summing import ACCEPTED, Sums, flat
from tasks.errors import UserError
from tasks.outcome import Case
from tasks.store.folder import Folder

CLIP_STAGES = [stage for stage in RECORDED if SPECS[stage].unit == "clips"]


@app.command()
def compare(
    left: Annotated[str, typer.Argument(help="The out folder of one build.")],
    right: Annotated[str, typer.Argument(help="That of another over the same videos.")],
    out: Annotated[str, typer.Option(help="Folder for compare.html and compare.json.")],
    show: Annotated[int, typer.Option(min=0, max=200, help="How many of the clips that differ most are shown.")] = 12,
    as_json: Json = False,
) -> None:
    """What two builds make of the same clips: triplets, anchors, tracks, ratings, cost, on one page."""
    dest, sides = Folder(out), (_Side(context_of(left)), _Side(context_of(right)))
    sums = compared(sides, show)
    if not sums.ends:
        raise UserError(f"{left} and {right} have no clip in common: build both over the same videos, cut alike")
    costs = cost_table(*(side.context.funnel() for side in sides))
    found = sums.numbers() | {"changed": changed(*(side.context for side in sides)), "cost": costs}
    exhibits = []
    for _, key, difference, ends in sums.most:
        cases = tuple(side.case(key) for side in sides)
        frames = sides[0].chunk_of(key).frames(cases[0])
        exhibits.append(exhibit(cases[0], cases[1], frames, difference, ends))
    names = sides[0].context.out.uri, sides[1].context.out.uri
    dest.write(PAGE, render(names, found, found["changed"], costs, exhibits).encode())
    dest.write(NUMBERS, (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode())
    emit({**found, "page": dest.shown(PAGE)}, as_json, [*_lines(found), f"page     {dest.shown(PAGE)}"])


class _Side:
    """One of the builds, with the chunk that was asked last at hand: clips come in the order of chunks."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.clips = context.store(CUTTER["clips"])
        self.ends = clip_ends(context)
        self._last: Chunk | None = None

    def chunk_of(self, clip_id: str) -> Chunk:
        name = self.clips.chunk_of(clip_id)
        if self._last is None or self._last.name != name:
            self._last = Chunk(self.context, name)
        return self._last

    def case(self, clip_id: str) -> Case:
        return self.chunk_of(clip_id).reached(clip_id)

    def end(self, clip_id: str) -> str:
        """How the clip ended: accepted, pending, or the stage and its reason."""
        passed, reason = self.ends[clip_id]
        return {"accept": ACCEPTED, "pending": "pending"}.get(
            reason, f"{CLIP_STAGES[passed % len(CLIP_STAGES)]}: {reason}"
        )


def compared(sides: tuple[_Side, _Side], show: int) -> Sums:
    """Every clip that both have, one after the other."""
    left, right = sides
    sums, total, done = Sums(show), len(left.clips), 0
    with progress("compare") as tell:
        for rows in left.clips.chunks.values():
            for key in rows.accepted():
                done += 1
                if key in right.clips and right.ends.get(key):
                    sums.add(differ(left.case(key), right.case(key)), (left.end(key), right.end(key)))
                else:
                    sums.only["left"] += 1
                tell(done, total)
    sums.only["right"] = sum(key not in left.clips for key in right.clips.accepted())
    return sums


def changed(left: Context, right: Context) -> list[tuple[str, str, str]]:
    """Settings and models that are not the same, but where builds lie and how they were run."""
    told = [flat(c.settings.model_dump(mode="json", exclude={"out", "source", "run"})) for c in (left, right)]
    for side, context in zip(told, (left, right), strict=True):
        side |= {f"model of {kind}": model for kind, model in context.models.items()}
    names = sorted(told[0].keys() | told[1].keys())
    return [(n, str(told[0].get(n, "")), str(told[1].get(n, ""))) for n in names if told[0].get(n) != told[1].get(n)]


def cost_table(left: Sequence[Tally], right: Sequence[Tally]) -> list[dict[str, Any]]:
    """A row a stage: seconds of work, tokens and price of each side."""

    def spent(line: Tally) -> dict[str, Any]:
        usage = line.usage or Usage()
        tokens = usage.prompt_tokens + usage.completion_tokens
        return {"seconds": round(line.seconds, 2), "tokens": tokens, "cost": round(usage.cost, 6)}

    return [{"stage": a.stage, "left": spent(a), "right": spent(b)} for a, b in zip(left, right, strict=True)]


def _lines(found: dict[str, Any]) -> list[str]:
    accepted, triplets, tracks = found["accepted"], found["triplets"], found["tracks"]
    shifts = (f"{name} {one['mean']:+.2f}" for name, one in found["ratings"].items() if one["mean"] is not None)
    return [
        *(f"changed  {name}: {a} → {b}" for name, a, b in found["changed"]),
        f"clips    {found['clips']} in both, {found['only_left']} only left, {found['only_right']} only right",
        f"accepted {accepted['left']} left, {accepted['right']} right, {accepted['both']} by both",
        f"triplets {triplets['both']} in both, {triplets['left']} only left, {triplets['right']} only right",
        f"tracks   {tracks['both']} in both, {tracks['left']} only left, {tracks['right']} only right, "
        f"J&F {'-' if tracks['j_and_f'] is None else tracks['j_and_f']}",
        f"ratings  {', '.join(shifts) or 'none in both'}",
    ]
