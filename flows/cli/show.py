"""`matrix_data show` and the funnel as text: what the store knows, for people."""

from typing import Any

from flows.context import CHAIN, FIELDS, Plan, Tally
from schemas import Box, Grounded, Row
from tasks.errors import UserError
from tasks.media.overlay import contact_sheet
from tasks.outcome import Case


def funnel_lines(lines: list[Tally]) -> list[str]:
    """The funnel as aligned text, with reasons."""
    text = [f"{'stage':<8}{'in':>8}{'accepted':>10}{'rejected':>10}{'pending':>9}{'seconds':>10}{'per s':>8}  reasons"]
    for t in lines:
        done = t.arrived - t.pending
        rate = f"{done / t.seconds:8.2f}" if t.seconds else f"{'-':>8}"
        reasons = ", ".join(f"{why} {n}" for why, n in t.rejected.items())
        text.append(
            f"{t.stage:<8}{t.arrived:>8}{t.accepted:>10}{sum(t.rejected.values()):>10}{t.pending:>9}"
            f"{t.seconds:>10.1f}{rate}  {reasons}".rstrip()
        )
    return text + [f"{t.stage:<8} {t.usage.line()}" for t in lines if t.usage]


def describe(plan: Plan, prefix: str) -> tuple[dict[str, Any], list[str]]:
    """All that is known of the clip whose ID starts with `prefix`; writes `show/<clip_id>.png` below out."""
    clip_id = _find(plan, prefix)
    rows = _rows(plan, clip_id)
    (made,) = plan.store("ingest").payloads([plan.store("ingest").links()[clip_id]])
    clip = next(c for c in made.clips if c.clip_id == clip_id)
    records = {FIELDS[s]: rows[s].payload for s in CHAIN if s in rows and rows[s].payload}
    case = Case(clip=clip, **records)
    sheet = f"show/{clip_id}.png"
    plan.out.write(sheet, contact_sheet(case, plan.frames(case)))
    found = {
        "clip": clip.model_dump(mode="json"),
        "stages": {stage: row.model_dump(mode="json") for stage, row in rows.items()},
        "sheet": plan.out.path(sheet),
    }
    return found, _text(case, rows, plan.out.path(sheet))


def _find(plan: Plan, prefix: str) -> str:
    found = [c for c in plan.store("ingest").links() if c.startswith(prefix)]
    if not found:
        raise UserError(f"no clip {prefix!r} in {plan.out.root}")
    if len(found) > 1:
        raise UserError(f"{prefix!r} fits {len(found)} clips, e.g. {found[0]} and {found[1]}: give more digits")
    return found[0]


def _rows(plan: Plan, clip_id: str) -> dict[str, Row[Any]]:
    return {s: plan.store(s).read([clip_id])[0] for s in ("dedupe", *CHAIN) if clip_id in plan.store(s)}


def _text(case: Case, rows: dict[str, Row[Any]], sheet: str) -> list[str]:
    clip = case.clip
    window, facts = clip.window, clip.facts
    text = [
        f"clip     {clip.clip_id}  {clip.width}×{clip.height}, {clip.frames} frames at {clip.fps:g}/s",
        f"source   {', '.join(clip.source.uris)}  {window.start_s:.2f}–{window.end_s:.2f} s, scene {window.scene}",
        f"         {facts.width}×{facts.height}, {facts.fps:.4g}/s, {facts.duration_s:.2f} s, {facts.codec} "
        f"{facts.pixel_format} in {facts.container}",
        f"licence  {clip.source.license or 'not stated'}   dataset {clip.source.dataset}",
        f"caption  {clip.source.caption}",
    ]
    for stage, row in rows.items():
        end = "accepted" if row.reason is None else f"rejected: {row.reason}"
        text.append(f"{stage:<8} {end}  {row.seconds:.2f} s  {row.detail}".rstrip())
        text += [f"  {row.usage.line()}"] if row.usage else []
    if case.captioned:
        for i in case.captioned.instances:
            text.append(f"  {i.id}: {i.noun} ({i.cls}). {i.app} {i.spatial}")
        for act in case.captioned.interactions:
            r = act.rating
            text.append(f"  {act.text}  contact {r.contact}, dynamism {r.dynamism}, confidence {r.confidence:.2f}")
    text += _boxes(case.grounded) if case.grounded else []
    for n in case.curated.numbers if case.curated else ():
        text.append(
            f"  {n.id}: visible {n.visible_share:.0%}, longest gap {n.longest_gap}, anchor IoU {n.anchor_iou:.2f}, "
            f"area jump {n.area_jump:.2f}, fragments {n.fragments:.2f}, side {n.side:.3f}, "
            f"likeness {n.likeness:.2f}, same-class IoU {n.same_class_iou:.2f}"
        )
    for what, record in (("caption", case.captioned), ("ground", case.grounded), ("curate", case.curated)):
        text += [
            f"  dropped at {what}: {d.what}: {d.reason} {d.detail}".rstrip() for d in (record.dropped if record else ())
        ]
    return [*text, f"sheet    {sheet}"]


def _boxes(grounded: Grounded) -> list[str]:
    """Anchors, then what the verifier said of every box that was tried and is on record."""
    text = [
        f"  {a.id}: anchor at frame {a.frame}, {_box(a.box)}, detector {a.score:.2f}, verifier {a.confidence:.2f}"
        for a in grounded.anchors
    ]
    for v in grounded.verdicts:
        c = v.candidate
        text.append(
            f"  tried for {v.asked}: {c.noun} at frame {c.frame}, {_box(c.box)}, detector {c.score:.2f} → "
            f"{v.assigned_id or 'none'} {v.confidence:.2f}: {v.rationale}"
        )
    return text


def _box(box: Box) -> str:
    return f"box {box.x0:.0f},{box.y0:.0f}–{box.x1:.0f},{box.y1:.0f}"
