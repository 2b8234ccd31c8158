"""The report's figures as SVG: frequency against magnitude, gaps, AAS by block and step.

Each is told the largest value of its axis or colours (`most`), one for all that are to be compared.
"""

from collections.abc import Iterable
from html import escape

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from matrix_train.analyze.ranking import Gaps, Influence

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 290, 54, 14, 12, 40
BAR = 68
"""Width that the colours' values take, in place of RIGHT."""
CHOSEN, INFLUENTIAL, OTHER, UP, DOWN = "#d9480f", "#1c7ed6", "#adb5bd", "#2b8a3e", "#c92a2a"


def scatter(own: Influence, chosen: Iterable[int], dummies: Iterable[int], clips: int, most: float) -> str:
    """A dot a block: in how many clips it is among the top, against its mean AAS. most: of the axis."""
    chosen, left_out = set(chosen), set(dummies)
    parts = _frame("mean AAS", "clips in which it is a top block", (0.0, most), (0.0, float(max(clips, 1))))
    # The best last, so that they lie on top.
    for block in sorted(range(len(own.magnitude)), key=lambda b: (b in chosen, b in own.influential, b)):
        x, y = _at(own.magnitude[block] / most, own.frequency[block] / max(clips, 1))
        ink = CHOSEN if block in chosen else INFLUENTIAL if block in own.influential else OTHER
        what = "chosen" if block in chosen else "influential" if block in own.influential else "other"
        if block in left_out:
            what, ink = "dummy: left out", "none"
        said = f"block {block}, {what}: top in {own.frequency[block]} of {clips} clips, AAS {own.magnitude[block]:.4g}"
        parts.append(
            f'<g><title>{said}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{ink}" stroke="#868e96"/>'
            + (
                f'<text x="{x + 7:.1f}" y="{y - 5:.1f}" class="b">{block}</text>'
                if ink in (CHOSEN, INFLUENTIAL)
                else ""
            )
            + "</g>"
        )
    return _svg(parts)


def bars(own: Gaps, chosen: Iterable[int], most: float) -> str:
    """Two bars a block: mean AAS of clips that succeed, and of those that fail, less that of all. most: of the axis, on
    either side."""
    chosen, blocks = set(chosen), len(own.success)
    parts = _frame("block", "AAS less the mean of all", (0.0, float(blocks)), (-most, most), ticks_x=False)
    wide = (WIDTH - LEFT - RIGHT) / blocks
    zero = _at(0, 0.5)[1]
    for block in range(blocks):
        x = LEFT + block * wide
        told = f"block {block}: success {own.success[block]:+.4g}, failure {own.failure[block]:+.4g}"
        for k, (value, ink) in enumerate(((own.success[block], UP), (own.failure[block], DOWN))):
            y = _at(0, 0.5 + value / most / 2)[1]
            parts.append(
                f'<rect x="{x + wide * (0.12 + 0.38 * k):.1f}" y="{min(y, zero):.1f}" width="{wide * 0.36:.1f}" '
                f'height="{abs(y - zero):.1f}" fill="{ink}"><title>{told}</title></rect>'
            )
        if block in own.dominant or block in chosen or blocks <= 12 or block % 5 == 0:
            ink = ' class="d"' if block in own.dominant else ""
            parts.append(_text(x + wide / 2, HEIGHT - BOTTOM + 14, str(block), "middle", ink))
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}" class="axis"/>')
    return _svg(parts)


def heat(values: NDArray[np.float64], timesteps: NDArray[np.float32], most: float) -> str:
    """AAS by step (down) and block (across): [steps, blocks]; the first step is the noisiest. most: of the colours."""
    steps, blocks = values.shape
    wide, high = (WIDTH - LEFT - BAR) / blocks, (HEIGHT - TOP - BOTTOM) / steps
    parts = _bar(most)
    for step, block in np.ndindex(steps, blocks):
        value = values[step, block]
        ink = _heat_ink(float(np.nan_to_num(value)) / most)
        told = f"block {block}, step {step} (t = {timesteps[step]:.0f}): AAS {value:.4g}"
        parts.append(
            f'<rect x="{LEFT + block * wide:.2f}" y="{TOP + step * high:.2f}" width="{wide + 0.3:.2f}" '
            f'height="{high + 0.3:.2f}" fill="{ink}"><title>{told}</title></rect>'
        )
    every = max(1, blocks // 12)
    for block in range(0, blocks, every):
        parts.append(_text(LEFT + (block + 0.5) * wide, HEIGHT - BOTTOM + 14, str(block), "middle"))
    for step in sorted({0, steps // 2, steps - 1}):
        parts.append(_text(LEFT - 6, TOP + (step + 0.5) * high + 4, str(step), "end"))
    parts += [_text((LEFT + WIDTH - BAR) / 2, HEIGHT - 6, "block", "middle"), _side("step")]
    return _svg(parts)


def _heat_ink(share: float) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * c) for c in colormaps["magma"](share)[:3]))


def _bar(most: float) -> list[str]:
    """The colours' values, on the right."""
    shades, high, x = 40, HEIGHT - TOP - BOTTOM, WIDTH - BAR + 12
    parts = [
        f'<rect x="{x}" y="{TOP + k * high / shades:.2f}" width="10" height="{high / shades + 0.3:.2f}" '
        f'fill="{_heat_ink(1 - (k + 0.5) / shades)}"/>'
        for k in range(shades)
    ]
    values = ((0.0, HEIGHT - BOTTOM), (most / 2, TOP + high / 2 + 4), (most, TOP + 9))
    return parts + [_text(x + 14, y, f"{value:.3g}", "start") for value, y in values]


def _at(x: float, y: float) -> tuple[float, float]:
    """Shares of width and height of the plot, from its lower left corner, with a margin."""
    inner_x, inner_y = WIDTH - LEFT - RIGHT - 24, HEIGHT - TOP - BOTTOM - 16
    return LEFT + 8 + x * inner_x, HEIGHT - BOTTOM - 8 - y * inner_y


def _frame(across: str, up: str, x: tuple[float, float], y: tuple[float, float], ticks_x: bool = True) -> list[str]:
    parts = [
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" class="plot"/>',
        _text((LEFT + WIDTH) / 2, HEIGHT - 6, across, "middle"), _side(up),
    ]  # fmt: skip
    for share in (0.0, 0.5, 1.0):
        if ticks_x:
            value = x[0] + share * (x[1] - x[0])
            parts.append(_text(_at(share, 0)[0], HEIGHT - BOTTOM + 14, f"{value:.3g}", "middle"))
        value = y[0] + share * (y[1] - y[0])
        parts.append(_text(LEFT - 5, _at(0, share)[1] + 4, f"{value:.3g}", "end"))
    return parts


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _side(text: str) -> str:
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    return f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{escape(text)}</text>'


def _svg(parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'
