"""What a run of a build shows of itself in Prefect's UI when it ends: figures, who did it, and a few clips with their
masks. The pictures are inside the artifact, small: the UI reaches neither a folder nor a bucket."""

import base64
import io
from collections.abc import Iterator, Sequence

from PIL import Image

from flows.chunk import Chunk
from flows.context import Context
from flows.legs import RECORDED
from flows.result import Result
from flows.survey import Survey
from flows.tally import Tally, by_machine
from schemas.text import as_markdown, visible
from tasks.media.overlay import contact_sheet

CLIPS, FRAMES, WIDTH = 3, 3, 300
"""Clips with a picture, frames of each, and the width of a frame in pixels."""

QUALITY = 75
"""Of the pictures as JPEG: some 40 kB each."""


def summary(context: Context, survey: Survey, lines: Sequence[Tally], result: Result) -> str:
    """The whole as Markdown. lines: the funnel. Opens one chunk, however many there are."""
    text = [
        f"| | |\n|---|---|\n| dataset | {_link(result.dataset) if result.dataset else 'none: no clip was accepted'} |",
        f"| report | {_link(result.report)} |",
        f"| samples | {next(line.accepted for line in lines if line.stage == RECORDED[-1]):,} |",
        f"| pending | {result.pending:,} |",
        f"| seconds | {result.seconds:,.0f} |",
    ]
    waiting, url = next(line.pending for line in lines if line.stage == "review"), context.settings.review.url
    if waiting and url:
        text.insert(3, f"| for people to decide on | {waiting:,}: {_link(url)} |")
    return "\n".join(text) + "".join(f"\n\n{part}" for part in (_machines(lines), *_pictures(context, survey)) if part)


def _link(address: str) -> str:
    """An address as people can take it from the page. A browser opens none of its own disk or of a bucket."""
    if address.startswith(("http://", "https://")):
        return f"[{as_markdown(address)}]({address})"
    plain = visible(address).replace("`", "'")
    return f"`{plain}`"


def _machines(lines: Sequence[Tally]) -> str:
    rows = by_machine(lines)
    if not rows:
        return ""
    names = ("stage", "machine", "done", "per_second", "busy", "tokens", "gpu_mib", "failed")
    head = f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n"
    return head + "\n".join(f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in rows)


def _cell(value: object) -> str:
    told = ", ".join(f"{what} {n}" for what, n in value.items()) if isinstance(value, dict) else value
    return as_markdown(told if told is not None else "")


def _pictures(context: Context, survey: Survey) -> Iterator[str]:
    """The first clips of the first chunk that the last stages let through."""
    last = RECORDED[-1]
    found = next((name for name in survey.chunks(last) if survey.of_chunk(last, name).accepted), None)
    if found is None:
        return
    chunk = Chunk(context, found)
    for key in chunk.store(last).accepted()[:CLIPS]:
        case = chunk.reached(key)
        sheet = Image.open(io.BytesIO(contact_sheet(case, chunk.frames(case), columns=FRAMES, rows=1, width=WIDTH)))
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=QUALITY)
        yield f"![clip {key}](data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()})"
