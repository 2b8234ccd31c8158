"""`matrix_train analyze`: every clip's reading into a table, then which blocks ground and carry, and a page to look at.

A/analysis.json       what the analysis is of; another one does not go on in the same folder
A/clips/*.parquet     a clip's rows, whole or not there: a stopped analysis goes on with the next clip
A/analysis.parquet · A/layers.json · A/report.html
A/generated/*.mp4     with --generated, the clips that were made
A/maps/*.safetensors  with --keep-maps
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from matrix_train.analyze.clips import Clip, Clips, clip_again, generated_clip, read_noised, read_sampling
from matrix_train.analyze.labels import read_labels
from matrix_train.analyze.layers import LAYERS_FILE, SCHEMA_VERSION
from matrix_train.analyze.reading import NOTHING, Kept, Reading
from matrix_train.analyze.report import write_report
from matrix_train.analyze.shown import FAMILY_KIND, Shown, draw_clip
from matrix_train.analyze.subject import Subject
from matrix_train.analyze.summary import Summary, layers_of, summarise
from matrix_train.analyze.table import clip_table, join, write_table
from matrix_train.backbones.encoders import identity
from matrix_train.config import Config
from matrix_train.data import Batch, Split
from matrix_train.errors import UserError
from matrix_train.export.trained import Trained
from matrix_train.files import write_json, write_whole
from matrix_train.fit.safe import to_bytes
from matrix_train.sample.trackers import Trackers

ANALYSIS_FILE, TABLE_FILE, REPORT_FILE = "analysis.json", "analysis.parquet", "report.html"


@dataclass(frozen=True)
class Options:
    out: Path
    clips: int = 64
    steps: int = 50
    split: Split = "val"
    generated: bool = False
    labels: Path | None = None
    kept: Kept = NOTHING
    profile: Path | None = None
    """Whose tracker follows generated clips."""


class Analysis:
    """`Analysis(config, options, trained, console).run()`. UserError for what cannot be analysed as asked."""

    def __init__(self, config: Config, options: Options, trained: Trained | None, console: Console) -> None:
        self.config, self.options, self.console = config, options, console
        self.labels = None if options.labels is None else read_labels(options.labels)
        self.trackers = Trackers(options.profile)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.subject = Subject.load(config, trained, device)
        self._check_kept()
        self.clips = Clips(config, options.split, self.subject)
        self.keys = self.clips.keys[: options.clips]
        self._check_labels()
        self.made_of = self._made_of(trained)
        self._own_folder()

    def run(self) -> dict[str, Any]:
        """What `--json` prints."""
        out, options = self.options.out, self.options
        timesteps = self.subject.timesteps(options.steps)
        left_out = set()
        for key in track(self.keys, "clips", console=self.console):
            if not self._part(key).exists():
                batch = self.clips.batch(key)
                if isinstance(batch, str):
                    self._say(f"left out: {batch}")
                    left_out.add(key)
                else:
                    self._read(batch, timesteps)
        parts = {key: self._part(key) for key in sorted(self.keys) if key not in left_out}
        if not parts:
            raise UserError(
                f"none of {len(self.keys)} clips of split {options.split} can be analysed: see `matrix_train inspect`"
            )
        rows = join(list(parts.values()), out / TABLE_FILE)
        alone = self.subject.grid.text_keys is not None
        summary = summarise(parts, options.steps, self.subject.blocks, self.config.align, alone, self.labels)
        layers = layers_of(summary, self.subject.backbone.name, self.made_of)
        write_json(out / LAYERS_FILE, layers)
        write_report(
            out / REPORT_FILE, summary, self.made_of, timesteps.float().numpy(), self._shown(summary, timesteps)
        )
        for line in summary.warnings:
            self._say(f"warning: {line}")
        for family, choice in summary.chosen.items():
            named = f"blocks {', '.join(map(str, choice.blocks))}, the most {choice.by}"
            self._say(f"{family.upper()}: {named if choice.blocks else 'no clip says anything of it'}")
        self._say(f"{rows} rows of {len(parts)} clips, layers and report in {out}")
        return {
            "out": str(out), "clips": len(parts), "left_out": len(left_out), "rows": rows,
            "settings": layers["settings"], "chosen_by": layers["chosen_by"], "dummy": layers["dummy"],
            "warnings": layers["warnings"],
        }  # fmt: skip

    def _read(self, batch: Batch, timesteps: torch.Tensor) -> None:
        """Writes the clip's part."""
        key = batch.keys[0]
        options, config, subject = self.options, self.config, self.subject
        clip = Clip.of(config, subject, batch)
        if options.generated:
            made = generated_clip(config, subject, clip, options.steps, self.trackers, options.out / "generated")
            reading = read_sampling(config, subject, made, clip, options.steps, options.kept)
            clip = made
        else:
            reading = read_noised(config, subject, clip, timesteps, options.kept)
        self._keep(key, reading)
        table = clip_table(
            key, reading.values[0].numpy(), reading.timesteps.numpy(), clip.roles, self.subject.grid.cells
        )
        write_table(table, self._part(key))

    def _keep(self, key: str, reading: Reading) -> None:
        if reading.maps:
            named = {f"block{b}.step{s}.{kind}": maps[0] for (b, s, kind), maps in sorted(reading.maps.items())}
            write_whole(self.options.out / "maps" / f"{key}.safetensors", to_bytes(named, {}))

    def _shown(self, summary: Summary, timesteps: torch.Tensor) -> Iterator[Shown]:
        """Each clip with the maps of the chosen blocks at the middle step: one more forward pass a clip."""
        middle = timesteps[len(timesteps) // 2 : len(timesteps) // 2 + 1]
        for key in track(summary.clips, "report", console=self.console):
            batch = self.clips.batch(key)
            assert not isinstance(batch, str), batch
            clip = Clip.of(self.config, self.subject, batch)
            if self.options.generated:
                clip = clip_again(self.config, self.subject, clip, self.options.out / "generated")
            blocks = {
                kind: own.blocks[0] for family, kind in FAMILY_KIND.items() if (own := summary.chosen[family]).blocks
            }
            reading = read_noised(self.config, self.subject, clip, middle, Kept.of(blocks.values(), [0]))
            yield draw_clip(clip, {kind: reading.maps[block, 0, kind][0].numpy() for kind, block in blocks.items()})

    def _part(self, key: str) -> Path:
        return self.options.out / "clips" / f"{key}.parquet"

    def _made_of(self, trained: Trained | None) -> dict[str, Any]:
        model, data = self.config.model, self.config.data
        kept = self.options.kept
        return {
            "model": model.path, "weights": identity(model.path, "transformer", model.revision),
            "run": trained and trained.sha256[:16], "precision": model.precision,
            "dataset": self.clips.identity, "split": self.options.split,
            "frames": data.frames, "height": data.height, "width": data.width, "frame_step": data.frame_step,
            "prompt": data.prompt, "seed": self.config.train.seed, "steps": self.options.steps,
            "generated": self.options.generated,
            "guidance": self.config.validation.guidance if self.options.generated else None,
            "tracker": self.trackers.identity if self.options.generated else None,
            "kept": [sorted(kept.blocks), sorted(kept.steps)],
        }  # fmt: skip

    def _own_folder(self) -> None:
        """UserError where the folder holds another analysis."""
        file = self.options.out / ANALYSIS_FILE
        now = {"schema_version": SCHEMA_VERSION, **self.made_of}
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            written = (TABLE_FILE, LAYERS_FILE, REPORT_FILE, "clips", "generated", "maps")
            if others := [name for name in written if (self.options.out / name).exists()]:
                raise UserError(
                    f"{self.options.out} has {others[0]}, which no analysis of this folder wrote: give another --out"
                ) from None
            write_json(file, now)
            return
        except ValueError:
            before = None
        if not isinstance(before, dict):
            raise UserError(f"{file} is damaged: give another --out")
        differs = [f"{name} was {before.get(name)}, is {now[name]}" for name in now if before.get(name) != now[name]]
        if differs:
            raise UserError(f"{self.options.out} holds another analysis: {'; '.join(differs)}: give another --out")

    def _check_kept(self) -> None:
        kept, blocks = self.options.kept, self.subject.blocks
        if kept.blocks and max(kept.blocks) >= blocks:
            raise UserError(f"--keep-maps: block {max(kept.blocks)} does not exist: this model has 0 to {blocks - 1}")
        if kept.steps and max(kept.steps) >= self.options.steps:
            raise UserError(f"--keep-maps: step {max(kept.steps)} does not exist: give 0 to {self.options.steps - 1}")

    def _check_labels(self) -> None:
        if self.labels is None:
            return
        good, bad = (len(set(side) & set(self.keys)) for side in (self.labels.success, self.labels.failure))
        others = len(self.labels.success) + len(self.labels.failure) - good - bad
        if others:
            self._say(f"note: {others} labels are of clips that are not analysed here")
        if not good or not bad:
            raise UserError(
                f"labels {self.options.labels}: of the {len(self.keys)} clips to analyse {good} succeed and {bad} "
                "fail: both are needed"
            )

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
