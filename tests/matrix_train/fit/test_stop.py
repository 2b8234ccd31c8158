"""A run that is asked to stop writes its checkpoint, says so, and goes on as if it had not been."""

import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil
import pytest

from matrix_train.cli import app as cli
from matrix_train.errors import UserError
from matrix_train.fit import run as fit
from matrix_train.fit.checkpoint import checkpoints
from matrix_train.fit.run import FitResult, Run
from matrix_train.fit.stop import Stopped, StopSignals
from tests.matrix_train.fitting import Trainer, launch, metrics, sets, settings, small_config, start

STRUCK = ("train.steps=4", "checkpoint.every=0", "validation.every=2", "validation.videos=0", "validation.clips=1")
DYING = (
    "train.steps=4", "checkpoint.every=3", "validation.every=4", "validation.clips=1", "validation.videos=1",
    "validation.video_every=4", "validation.sampling_steps=1",
)  # fmt: skip

MakeCalm = Callable[[tuple[str, ...]], tuple[Path, FitResult]]


@pytest.fixture(scope="module")
def calm(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeCalm:
    """The undisturbed run of these settings, made once."""

    @cache
    def made(common: tuple[str, ...]) -> tuple[Path, FitResult]:
        folder = tmp_path_factory.mktemp("calm") / "run"
        return folder, start(small_config(dataset, folder, *common)).train()

    return made


@pytest.mark.parametrize(("number", "after"), [(signal.SIGTERM, 3), (signal.SIGINT, 3), (signal.SIGTERM, 2)])
def test_the_step_is_finished_and_saved(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: MakeCalm, number: signal.Signals, after: int
) -> None:
    """Between two validations, and at a step that is validated: the continuation makes that up."""
    undisturbed, _ = calm(STRUCK)
    plain, handler = Run._one_step, signal.getsignal(number)

    def struck(self, meter):
        if self.step == after - 1:
            signal.raise_signal(number)
        return plain(self, meter)

    config = small_config(dataset, tmp_path / "run", *STRUCK)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_one_step", struck)
        with pytest.raises(
            Stopped, match=f"stopped after step {after} by {number.name}; .* go on with --resume auto"
        ) as it:
            start(config).train()
    assert it.value.code == 128 + number
    assert signal.getsignal(number) == handler
    assert [path.name for path in checkpoints(tmp_path / "run")] == [f"step-0000000{after}"]
    start(config, resume=True).train()
    assert metrics(tmp_path / "run") == metrics(undisturbed)


@pytest.mark.parametrize("at", [0, 4])
def test_a_run_that_died_while_validating_validates_again(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: MakeCalm, at: int
) -> None:
    """Before the first checkpoint, and after the last: nothing is missing, and nothing stands there twice."""
    undisturbed, ended = calm(DYING)
    plain = fit.write_samples

    def dies(config, parts, clips, empty, folder, device):
        if folder.name == f"step-0000000{at}":
            raise KeyboardInterrupt
        return plain(config, parts, clips, empty, folder, device)

    config = small_config(dataset, tmp_path / "run", *DYING)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "write_samples", dies)
        with pytest.raises(KeyboardInterrupt):
            start(config).train()
    again = start(config, resume=True).train()
    assert metrics(tmp_path / "run") == metrics(undisturbed)
    assert sorted(p.parent.name for p in (tmp_path / "run").rglob("*.mp4")) == ["step-00000000", "step-00000004"]
    assert again.validation == ended.validation != {}
    assert again.losses.keys() == ended.losses.keys() != set()
    assert start(config, resume=True).train().validation == ended.validation


def test_the_first_signal_is_answered_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with StopSignals(says=True):
        signal.raise_signal(signal.SIGTERM)
        assert "stopping after this step, with a checkpoint; once more stops at once" in capfd.readouterr().err


def test_a_second_signal_acts_as_ever() -> None:
    # A shell starts what runs in the background with SIGINT ignored, and then Python leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.asked == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_command_says_it_and_returns_what_shells_expect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise Stopped(7, signal.SIGTERM)

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 143
    assert capsys.readouterr().err.startswith("stopped after step 7 by SIGTERM; its checkpoint is written")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=[pytest.mark.production, pytest.mark.long])])
def test_a_scheduler_takes_the_machine(dataset: Path, tmp_path: Path, trainer: Trainer, processes: int) -> None:
    """SIGTERM to every process there is, data workers and fork server too, as schedulers send it."""
    common = ("train.steps=20", "checkpoint.every=0", "data.workers=1")
    small_config(dataset, tmp_path / "none", *common)
    words = sets(settings(dataset, tmp_path / "run", *common))
    process = launch(processes, *words)
    try:
        while not (tmp_path / "run/metrics.jsonl").exists() or len(metrics(tmp_path / "run")) < 3:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        targets = [process] if processes > 1 else [*psutil.Process(process.pid).children(recursive=True), process]
        for target in targets:
            target.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
    assert "stopped after step" in said
    assert process.returncode == 143 if processes == 1 else process.returncode != 0
    [saved] = checkpoints(tmp_path / "run")
    assert int(saved.name.removeprefix("step-")) == metrics(tmp_path / "run")[-1]["step"] < 20
    trainer.finish(processes, *words, "--resume", "auto")
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, 21))


@pytest.mark.slow
def test_of_several_processes_each_says_its_line_and_no_traceback(
    dataset: Path, tmp_path: Path, trainer: Trainer
) -> None:
    """The first finds the folder taken; the second learns that the first has gone."""
    start(small_config(dataset, tmp_path / "run", "train.steps=1")).train()
    both = trainer.start(2, *sets(settings(dataset, tmp_path / "run", "train.steps=1")))
    assert [process.wait(120) for process in both] == [2, 2]
    first, second = (process.out.read_text() for process in both)
    assert "holds a run: go on with it by --resume auto" in first
    assert "another process of this run has ended; its own message says why" in second
    for said in (first, second):
        assert "matrix_train/fit/run.py" not in said and "closed by peer" not in said


def test_two_processes_do_not_train_in_one_folder(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", "train.steps=1")
    first = start(config)
    with pytest.raises(UserError, match=r"another process trains in .*run: wait for it, or set another train\.out"):
        start(config, resume=True)
    first.train()
    start(config, resume=True)
