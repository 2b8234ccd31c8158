"""The page of a comparison, `compare.html`: it loads nothing and runs no script; text from outside is escaped."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from schemas import Captioned
from tasks.compare.differing import Difference
from tasks.engines.base import Frames
from tasks.media.overlay import draw_small, labels_at, pick_frames
from tasks.outcome import Case

PAGE, NUMBERS = "compare.html", "compare.json"
SHOWN, WIDTH = 4, 280
"""Frames of a clip on the page, and their width in pixels."""


@dataclass(frozen=True)
class Exhibit:
    """A clip that differs, as the page shows it."""

    key: str
    caption: str
    ends: tuple[str, str]
    found: Difference
    rows: tuple[tuple[str, ...], tuple[str, ...]]
    """data: URIs of the same frames, left and right."""


def exhibit(left: Case, right: Case, frames: Frames, found: Difference, ends: tuple[str, str]) -> Exhibit:
    """frames: the clip's, RGB uint8 [T, H, W, 3]."""
    picked = pick_frames(len(frames), SHOWN)
    captioned = left.get(Captioned) or right.get(Captioned)
    caption = captioned.caption if captioned else left.clip.source.caption or ""
    ours, theirs = (
        tuple(_picture(draw_small(frames[t], labels_at(c, t), WIDTH)) for t in picked) for c in (left, right)
    )
    return Exhibit(left.clip.clip_id, caption, ends, found, (ours, theirs))


def _picture(frame: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def render(
    names: tuple[str, str],
    numbers: Mapping[str, Any],
    changed: Sequence[tuple[str, str, str]],
    costs: Sequence[Mapping[str, Any]],
    exhibits: Sequence[Exhibit],
) -> str:
    """The page. changed: name, left, right of what differs in settings and models. costs: a row a stage."""
    env = Environment(loader=PackageLoader("tasks.compare", ""), autoescape=True, undefined=StrictUndefined)
    style = Markup((files("tasks.report") / "style.css").read_text(encoding="utf-8"))
    return env.get_template("template.html.j2").render(
        names=names, numbers=numbers, changed=changed, costs=costs, exhibits=exhibits, style=style
    )
