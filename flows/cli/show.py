"""`matrix_data show`: what is on record of one clip, of the clips of a video, or of all that ended for a reason."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import typer

from flows.cli.base import Json, Out, app, emit
from flows.context import Context
from flows.legs import RECORDED, SPECS
from flows.opened import context_of
from schemas import Captioned, Curated, Reason, Row, Verified
from tasks.errors import UserError
from tasks.media.overlay import contact_sheet, surface
from tasks.outcome import Case

Unit = Literal["files", "videos", "clips"]

Rows = dict[str, Row[Any]]
"""By stage, in order."""

STAGES_OF: dict[Unit, list[str]] = {
    unit: [stage for stage in RECORDED if SPECS[stage].unit == unit] for unit in get_args(Unit)
}


@app.command()
def show(
    out: Out,
    clip: Annotated[
        str | None, typer.Argument(help="clip_id, the first digits of one, or the file name of a video.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="A reason code instead: lists all that ended for it.")] = None,
    whole: Annotated[bool, typer.Option("--all", help="Also every candidate that was tried.")] = False,
    as_json: Json = False,
) -> None:
    """What is on record of a clip, with a contact sheet of boxes and masks; or of a video; or of a reason code."""
    if (clip is None) == (reason is None):
        raise UserError("give a clip, the file name of a video, or --reason and a code, one of them")
    context = context_of(out)
    found, text = look_up(context, clip, whole) if clip is not None else list_ended(context, str(reason))
    emit(found, as_json, text)


def look_up(context: Context, word: str, whole: bool) -> tuple[dict[str, Any], list[str]]:
    """The clip whose ID begins so, or what the videos of that file name came to.

    UserError where there is neither such a clip nor such a file.
    """
    found = [clip for clip in context.store("ingest").links() if clip.startswith(word)]
    if len(found) == 1:
        return describe(context, found[0], whole)
    ends = [(unit, key) for unit, some in names(context).items() for key, name in some.items() if _is_named(name, word)]
    if not ends and found:
        raise UserError(f"{word!r} fits {len(found)} clips, e.g. {found[0]} and {found[1]}: give more digits")
    if not ends:
        raise UserError(
            f"no clip and no file {word!r} in {context.out.uri}: `matrix_data explore` shows clips by their IDs"
        )
    led_on = {*context.store("select").links().values(), *context.store("ingest").links().values()}
    ends = [(unit, key) for unit, key in ends if key not in led_on]
    if len(ends) == 1 and ends[0][0] == "clips":
        return describe(context, ends[0][1], whole)
    return list_video(context, word, ends)


def names(context: Context) -> dict[Unit, dict[str, str]]:
    """Names of files by key; of what several files hold, the one that was kept."""
    files = {file.key: file.name for file in context.at_work("scan").listed()}
    videos = {video: files[file] for video, file in context.store("select").links().items() if file in files}
    clips = {clip: videos[video] for clip, video in context.store("ingest").links().items() if video in videos}
    return {"files": files, "videos": videos, "clips": clips}


def _is_named(name: str, word: str) -> bool:
    return word in (name, name.rpartition("/")[2])


def rows_of(context: Context, unit: Unit, key: str) -> Rows:
    """By stage, the rows of a file, video or clip."""
    chunk = context.find(key) if unit == "clips" else None
    stores = {stage: (chunk or context).store(stage) for stage in STAGES_OF[unit]}
    return {stage: store.read([key])[0] for stage, store in stores.items() if key in store}


def end_of(rows: Rows, unit: Unit) -> str:
    """How it ended, in a few words."""
    if not rows:
        return f"waits for {STAGES_OF[unit][0]}"
    stage, row = list(rows.items())[-1]
    if row.reason is not None:
        return f"rejected at {stage}: {row.reason}"
    return "accepted" if stage == RECORDED[-1] else f"waits for {RECORDED[RECORDED.index(stage) + 1]}"


def list_video(context: Context, word: str, ends: list[tuple[Unit, str]]) -> tuple[dict[str, Any], list[str]]:
    """How each clip of a video ended, in order of time, first those that dedupe has not taken; of a video without
    clips, how that did, or its file."""
    lines: list[dict[str, Any]] = []
    for unit, key in ends:
        rows = rows_of(context, unit, key)
        cut = rows["dedupe"].payload if "dedupe" in rows else None
        window = (cut.clip.window.start_s, cut.clip.window.end_s) if cut else ()
        detail = list(rows.values())[-1].detail if rows else ""
        lines.append({"key": key, "unit": unit, "window": window, "ended": end_of(rows, unit), "detail": detail})
    lines.sort(key=lambda line: (line["unit"], line["window"], line["key"]))
    clips = sum(unit == "clips" for unit, _ in ends)
    text = [f"{word}: {clips} clip{'s' * (clips != 1)}"]
    for line in lines:
        at = "{:.2f}–{:.2f} s  ".format(*line["window"]) if line["window"] else ""
        text.append(f"{line['key']}  {at}{line['ended']}  {_short(line['detail'])}".rstrip())
    return {"video": word, "ends": lines}, text


def list_ended(context: Context, reason: str) -> tuple[dict[str, Any], list[str]]:
    """All that was rejected for a reason: stage, key, file, detail. UserError for what is no code, or has none."""
    if reason not in list(Reason):
        raise UserError(f"no reason code {reason!r}; there are: {', '.join(Reason)}")
    ended = list(_ended(context, reason))
    if not ended:
        raise UserError(f"nothing in {context.out.uri} is on record as {reason}; `matrix_data status` counts what is")
    text = [f"{one['stage']:<8} {one['key']}  {one['file']}  {_short(one['detail'])}".rstrip() for one in ended]
    return {"reason": reason, "ended": ended}, text


def _ended(context: Context, reason: str) -> Iterator[dict[str, str]]:
    file_of = names(context)
    for stage in RECORDED:
        store, known = context.store(stage), file_of[SPECS[stage].unit]
        keys = [key for key, why in store.rejected().items() if why == reason]
        for row in store.read(keys):
            yield {"stage": stage, "key": row.key, "file": known.get(row.key, ""), "detail": row.detail}


def _short(detail: str) -> str:
    return detail if len(detail) <= 100 else f"{detail[:99]}…"


def describe(context: Context, clip_id: str, whole: bool) -> tuple[dict[str, Any], list[str]]:
    """What is known of a clip, in short and then stage by stage; writes `show/<clip_id>.png` below out."""
    chunk = context.find(clip_id)
    if chunk is None:
        raise UserError(f"the clip {clip_id} has not been through dedupe yet: go on with the build")
    case, rows = chunk.reached(clip_id), rows_of(context, "clips", clip_id)
    sheet = f"show/{clip_id}.png"
    context.out.write(sheet, contact_sheet(case, chunk.frames(case)))
    found = {
        "clip": case.clip.model_dump(mode="json"),
        "stages": {stage: row.model_dump(mode="json") for stage, row in rows.items()},
        "sheet": context.out.shown(sheet),
    }
    return found, [*_summary(case, rows), f"sheet    {context.out.shown(sheet)}", "", *_stages(rows, whole)]


def _summary(case: Case, rows: Rows) -> Iterator[str]:
    """The clip, how it ended, where it came from, and the triplets as far as they got."""
    clip, window, facts = case.clip, case.clip.window, case.clip.facts
    captioned, last = case.get(Captioned), case.get(Curated) or case.get(Verified)
    yield f"clip     {clip.clip_id}  {clip.width}×{clip.height}, {clip.frames} frames at {clip.fps:g}/s"
    yield f"ended    {end_of(rows, 'clips')}"
    yield f"source   {', '.join(clip.source.uris)}  {window.start_s:.2f}–{window.end_s:.2f} s, scene {window.scene}"
    yield (
        f"         {facts.width}×{facts.height}, {facts.fps:.4g}/s, {facts.duration_s:.2f} s, {facts.codec} "
        f"{facts.pixel_format} in {facts.container}"
    )
    yield f"licence  {clip.source.license or 'not stated'}   dataset {clip.source.dataset}"
    yield f"caption  {captioned.caption if captioned else clip.source.caption or 'none'}"
    if captioned:
        nouns = {i.id: i.noun for i in captioned.instances}
        for act in captioned.interactions:
            if last is None or act.text in last.interactions:
                yield f"triplet  {surface(act, nouns)}  contact {act.rating.contact}, dynamism {act.rating.dynamism}"


def _stages(rows: Rows, whole: bool) -> Iterator[str]:
    """Stage by stage how it ended and what is on record."""
    for stage, row in rows.items():
        end, spec = "accepted" if row.reason is None else f"rejected: {row.reason}", SPECS[stage]
        yield f"{stage:<8} {end}  {row.seconds:.2f} s  {row.detail}".rstrip()
        if row.usage:
            yield f"  {row.usage.line()}"
        if row.payload:
            yield from (f"  {line}" for line in spec.lines(row.payload))
            more = spec.more(row.payload)
            yield from (f"  {line}" for line in more if whole)
            if more and not whole:
                yield f"  {len(more)} lines more with --all"
        for dropped in getattr(row.payload, "dropped", ()):
            yield f"  dropped: {dropped.what}: {dropped.reason} {dropped.detail}".rstrip()
