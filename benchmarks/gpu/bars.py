"""The bars of the issue against what was told."""

from collections.abc import Callable, Iterator, Sequence

from benchmarks.gpu.children import Figures

BARS: tuple[tuple[str, float, str, Callable[[Figures], float | None]], ...] = (
    ("seconds of a step at the recipe's settings, the first frame's encoding included", 3.2, "most",
     lambda told: _sum(told.get("step", {}).get("seconds_on"), told.get("vae", {}).get("encode_first_seconds"))),
    ("MFU of a step at the recipe's settings", 0.40, "least", lambda told: told.get("step", {}).get("mfu")),
    ("time that alignment adds", 0.02, "most", lambda told: told.get("step", {}).get("time_overhead")),
    ("GiB that alignment adds", 0.5, "most", lambda told: told.get("step", {}).get("peak_overhead_gib")),
    ("largest relative error of maps and gradients in bfloat16", 0.02, "most",
     lambda told: told.get("parity", {}).get("worst")),
)  # fmt: skip


def bars(lines: Sequence[Figures]) -> Iterator[Figures]:
    """One line for each bar whose figure was measured at full size."""
    told: dict[str, Figures] = {}
    for line in lines:
        if line.get("size") == "full":
            held = told.get(line["part"], {})
            # The VAE's first arm is the trainer's; of a step the last line has most rounds.
            told[line["part"]] = line | held if line["part"] == "vae" else held | line
    for name, bar, kind, figure in BARS:
        found = figure(told)
        if found is not None:
            yield {"bar": name, kind: bar, "found": found, "met": found <= bar if kind == "most" else found >= bar}


def _sum(*parts: float | None) -> float | None:
    return None if None in parts else sum(part for part in parts if part is not None)
