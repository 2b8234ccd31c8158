"""The training run: LoRA, input projection and decoders on a frozen backbone (paper §5, App. D).

    matrix_train fit configs/tiny.yaml --set data.dataset=... --resume auto
    accelerate launch --num_processes 8 -m matrix_train fit ...

Everything written lies in `train.out`: config.yaml, versions.json, metrics.jsonl, checkpoints/, samples/ and the
logger's files. SIGTERM and Ctrl-C end the run after the step at hand, with a checkpoint.
"""

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from rich.console import Console
from torch import Tensor

from matrix_train.attention.kernels import attention_kernel, check_kernel
from matrix_train.attention.roles import FAMILY_ROLES, Family
from matrix_train.backbones.configured import plan_backbone
from matrix_train.backbones.trainable import kind_of
from matrix_train.config import DTYPES, Config
from matrix_train.data import BadEntry, BatchStream, Split, open_stream
from matrix_train.fit.assembly import assemble
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.calibrate import calibrate
from matrix_train.fit.checkpoint import State, binding_settings, check_resumable, read_checkpoint
from matrix_train.fit.distributed import AnyProcess, gather_states, restore_states, save_states
from matrix_train.fit.groups import groups
from matrix_train.fit.guard import FiniteGuard
from matrix_train.fit.inputs import Draw, prepare
from matrix_train.fit.logs import VALIDATION, RunLog
from matrix_train.fit.means import Means
from matrix_train.fit.meter import Meter
from matrix_train.fit.notes import notes_of
from matrix_train.fit.precompute import cache_key, ready_cache
from matrix_train.fit.rundir import RunFolder
from matrix_train.fit.samples import write_samples
from matrix_train.fit.schedule import cosine_with_warmup
from matrix_train.fit.stop import Stopped, StopSignals
from matrix_train.fit.validate import Validator
from matrix_train.fit.watch import compared, reached


@dataclass(frozen=True)
class FitResult:
    """Where the run stands when `fit` returns."""

    run: Path
    step: int
    losses: dict[str, float]
    """Parts of the last step's loss."""
    validation: dict[str, float]
    """The last validation; empty where it is turned off."""


class Run:
    """One process's side of a run: `Run(config, make_accelerator(config), console).start(resume).train()`.

    UserError for a setting, a data set or a checkpoint that does not fit.
    """

    def __init__(self, config: Config, accelerator: Accelerator, console: Console) -> None:
        self.config, self.accelerator, self.console = config, accelerator, console
        self.path = Path(config.train.out)
        self.main = accelerator.is_main_process
        self.any_process = AnyProcess(accelerator.num_processes)
        self.step, self.seconds = 0, 0.0
        self.reached: set[Family] = set()
        """Families whose λ has become 0 for good (`align.stop_at`)."""
        self.shares: dict[Family, float] = {}
        """Of each family's λ at the last step."""
        self.told: set[str] = set()
        """Keys of bad entries that the console has named."""

    def start(self, resume: bool, fill: bool = False) -> "Run":
        """Builds everything, and goes to the newest checkpoint where `resume` says so. fill: the cache first."""
        self.folder = RunFolder(self.path, resume) if self.main else None
        try:
            self._build(fill)
        except BaseException:
            self._release()
            raise
        return self

    def _build(self, fill: bool) -> None:
        config, accelerator, console = self.config, self.accelerator, self.console
        latest: Path | None = broadcast_object_list([self.folder and self.folder.latest])[0]
        # What can be wrong is told before clips are encoded and a model is loaded.
        checkpoint = None if latest is None else read_checkpoint(latest)
        if checkpoint is not None:
            check_resumable(checkpoint.state, config, accelerator.num_processes)
        check_kernel(config.model.attention, accelerator.device, DTYPES[config.model.precision])
        plan_backbone(config)
        if fill:
            config = self.config = ready_cache(config, accelerator, console)
        self.cache = LatentCache(Path(config.train.cache), cache_key(config)) if config.train.cache else None
        self.parts = assemble(config, accelerator.device)
        trainable = self.parts.trainable()
        optimizer = torch.optim.AdamW(
            groups(trainable, config.optim), betas=config.optim.betas, eps=config.optim.eps,
            weight_decay=config.optim.weight_decay,
        )  # fmt: skip
        if self.main:
            self._say_trainable(trainable)
            for note in notes_of(config, self.parts.backbone, checkpoint.state if checkpoint else None):
                console.print(f"note: {note}", highlight=False, soft_wrap=True)
        self.model, self.optimizer = accelerator.prepare(self.parts.model, optimizer)
        if checkpoint is not None:
            restore_states(self.model, self.optimizer, checkpoint)
            self.step, self.seconds = checkpoint.state.step, checkpoint.state.seconds
        self.guard = FiniteGuard(accelerator.device, checkpoint.state.nonfinite if checkpoint else 0)
        self.stream = self._open_stream("train")
        if checkpoint is not None:
            self.stream.restore(checkpoint.state.streams[accelerator.process_index])
            if self.main:
                self.console.print(f"resumed at step {self.step} from {latest}")
        if self.folder is not None:
            self.folder.write_settings(config)

    def _release(self) -> None:
        if self.folder is not None:
            self.folder.release()

    def train(self) -> FitResult:
        """The loop. Stopped where a signal ended it before its last step."""
        try:
            return self._train()
        finally:
            self.stream.close()
            self._release()

    def _train(self) -> FitResult:
        config, accelerator = self.config, self.accelerator
        validator = self._validator()
        meter = Meter(config, self.accelerator.device)
        before = self.seconds
        with (
            RunLog(self.path, config, self.step, self.console) if self.main else nullcontext() as log,
            StopSignals(says=self.main) as stop,
        ):
            logs, validation = log.last if log is not None else ({}, {})
            if self.step == 0 and config.align.calibrate and config.aligned:
                levels = calibrate(config, self.parts, self.model, accelerator, self.cache)
                if self.main:
                    said = ", ".join(f"{name} {level:+.2f}" for name, level in levels.items())
                    self.console.print(f"maps lie at {said} nats; the decoders start from there", highlight=False)
            self.reached = set(broadcast_object_list([log and reached(log.validations, config.align.stop_at)])[0] or ())
            # Of step 0, and of a step that was saved but whose validation the run did not live to see.
            if self._validates() and self.any_process(log is not None and not log.has_validated(self.step))[0]:
                validation = self._validate(validator, log)
            while self.step < config.train.steps:
                meter.begin()
                means, norm = self._one_step(meter)
                self.step += 1
                last = self.step == config.train.steps
                if last or self.step % config.log.every == 0:
                    logs = means.read(accelerator) | self._standing(norm) | meter.read()
                    if log is not None:
                        log.write(self.step, logs)
                        log.advance(self.step, meter.line(logs, log.wide))
                stopped, late = self.any_process(stop.asked, self._late(meter))
                validates = self._validates()
                saves = last or stopped or late or self._checkpoint_due()
                if validates or saves:
                    meter.pause()
                    self.seconds = before + meter.spent
                # First of all: a machine that is taken away during a long validation takes no step with it.
                if saves:
                    if log is not None:
                        log.sync()
                    self._save()
                    meter.saved()
                if stopped and not last:
                    raise Stopped(self.step, stopped)
                if validates:
                    validation = self._validate(validator, log)
        return FitResult(self.path, self.step, logs, validation)

    def _one_step(self, meter: Meter) -> tuple[Means, Tensor]:
        """One optimiser step: the numbers of its forward passes, and the gradient's norm."""
        config, accelerator = self.config, self.accelerator
        factor = cosine_with_warmup(self.step, config.train.steps, config.optim.warmup)
        self.shares = self._shares()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        means = Means()
        for part in range(config.train.accumulate):
            with meter.waiting():
                batch = next(self.stream)
            draw = Draw(config.train.seed, "train", config.train.caption_dropout, config.train.image_noise)
            inputs = prepare(
                batch, self.parts.encoders, self.parts.grid, config.align.supervise_stride, draw,
                accelerator.device, self.cache,
            )  # fmt: skip
            more = part < config.train.accumulate - 1
            with accelerator.no_sync(self.model) if more else nullcontext(), attention_kernel(config.model.attention):
                loss, parts = self.model(inputs, "train", self.shares)
                accelerator.backward(loss / config.train.accumulate)
            means.add(parts)
        norm = accelerator.clip_grad_norm_(self.model.parameters(), config.optim.clip)
        assert isinstance(norm, Tensor)
        norm = self.guard.watch(norm, self.model.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return means, norm

    def _shares(self) -> dict[Family, float]:
        """Of each family's λ at this step."""
        align = self.config.align
        share = cosine_with_warmup(self.step, self.config.train.steps, align.warmup, align.decay)
        return {family: 0.0 if family in self.reached else share for family in FAMILY_ROLES}

    def _standing(self, norm: Tensor) -> dict[str, float]:
        """Of the gradient, and how many samples were skipped and entries left out so far, over all processes.

        The main process names every entry that is left out, once.
        """
        skips: Counter[str] = Counter()
        bad: dict[str, BadEntry] = {}
        for theirs, entries in gather_object([(self.stream.skips, self.stream.bad)]):
            skips.update(theirs)
            bad |= entries
        if put_aside := self.guard.read(self.step):
            skips["nonfinite_gradient"] = put_aside
        for key in sorted(bad.keys() - self.told):
            if self.main:
                self.console.print(f"left out: {bad[key]}", highlight=False, markup=False, soft_wrap=True)
            self.told.add(key)
        counts = {f"skipped.{reason}": float(n) for reason, n in sorted(skips.items())}
        counts |= {f"bad.{r}": float(n) for r, n in sorted(Counter(e.reason for e in bad.values()).items())}
        shares = {f"share.{family}": self.shares[family] for family in self.config.align.tapped}
        return {"norm": float(norm), "lr": self.optimizer.param_groups[0]["lr"]} | shares | counts

    def _validator(self) -> Validator | None:
        if not self.config.validation.every:
            return None
        with self._open_stream("val") as stream:
            held_out = list(islice(stream, min(self.config.validation.clips, len(stream.dataset))))
        return Validator(self.config, self.parts, self.accelerator, held_out, self.cache)

    def _validates(self) -> bool:
        """After this step: every so many, and after the last."""
        every = self.config.validation.every
        return bool(every) and (self.step % every == 0 or self.step == self.config.train.steps)

    def _validate(self, validator: Validator | None, log: RunLog | None) -> dict[str, float]:
        assert validator is not None
        values = {VALIDATION + name: value for name, value in validator.measure(self.model).items()}
        stopped = reached([values], self.config.align.stop_at) - self.reached
        self.reached |= stopped
        for family in sorted(stopped) if self.main else ():
            self.console.print(f"note: {family} has reached align.stop_at: its λ is 0 from here on", soft_wrap=True)
        settings = self.config.validation
        if settings.videos and (self.step % settings.video_every == 0 or self.step == self.config.train.steps):
            folder = self.path / "samples" / f"step-{self.step:08d}"
            looks = write_samples(
                self.config, self.parts, validator.sampled, validator.empty, folder, self.accelerator.device
            )
            shown, notes = compared(gather_object(looks), log.validations if log is not None else ())
            values |= shown
            for note in notes:
                self.console.print(f"note: {note}", highlight=False, soft_wrap=True)
        self.accelerator.wait_for_everyone()
        # Last: the line says that all of this step's validation is there.
        if log is not None:
            log.write(self.step, values)
        return values

    def _checkpoint_due(self) -> bool:
        every = self.config.checkpoint.every
        return bool(every) and self.step % every == 0

    def _late(self, meter: Meter) -> bool:
        minutes = self.config.checkpoint.minutes
        return bool(minutes) and meter.since_saved() > 60 * minutes

    def _save(self) -> None:
        nonfinite = self.guard.read(self.step)
        trainable, moments = gather_states(self.model, self.optimizer)
        streams = gather_object([self.stream.state()])
        if self.main:
            state = State(
                step=self.step, seconds=self.seconds, streams=streams, nonfinite=nonfinite,
                settings=binding_settings(self.config),
            )  # fmt: skip
            save_states(self.path, self.config, self.parts.backbone.name, state, trainable, moments)
        self.accelerator.wait_for_everyone()

    def _open_stream(self, split: Split) -> BatchStream:
        """The train split from this process's place on; of the held-out one, single clips, the same everywhere."""
        config, accelerator, parts = self.config, self.accelerator, self.parts
        if split == "val":
            alone = config.data.model_copy(update={"workers": 0, "flip": 0.0})
            return open_stream(alone, split, parts.encoders.tokenizer, parts.grid)
        return open_stream(
            config.data, split, parts.encoders.tokenizer, parts.grid, config.train.batch_size, config.train.seed,
            accelerator.process_index, accelerator.num_processes, position=self.step * config.train.accumulate,
            pin=accelerator.device.type == "cuda", decode_video=self.cache is None,
        )  # fmt: skip

    def _say_trainable(self, trainable: dict[str, Any]) -> None:
        sizes: Counter[str] = Counter()
        for name, parameter in trainable.items():
            sizes[kind_of(name)] += parameter.numel()
        frozen = sum(p.numel() for p in self.parts.model.parameters()) - sum(sizes.values())
        said = ", ".join(f"{kind} {count:,}" for kind, count in sizes.items())
        self.console.print(f"trainable: {said}; frozen: {frozen:,} parameters")
