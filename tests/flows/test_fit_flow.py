"""`fit` as a flow: its lines in the run's log, its mistakes in one line, and no trainer outlives a cancelled run."""

import time

import psutil
import pytest

from flows.fitting import run_fit
from tasks.errors import UserError

TINY = "configs/tiny.yaml"


@pytest.fixture(scope="module")
def small(built, tmp_path_factory):
    """Settings that train a tiny model on the built dataset for a step."""
    (dataset,) = (built / "dataset").iterdir()
    folder = tmp_path_factory.mktemp("fit")
    return [
        f"model.path={folder / 'model'}",
        f"data.dataset={dataset}",
        "data.frame_step=2",
        "data.height=96",
        "data.width=144",
        "train.batch_size=1",
        "validation.every=0",
        "checkpoint.minutes=0",
        "data.workers=0",
        "log.every=1",
        "log.to=[]",
    ], folder


@pytest.mark.slow
def test_a_mistake_is_the_trainers_own_line(tmp_path):
    said = []
    with pytest.raises(UserError, match=r"nothing\.yaml"):
        run_fit(str(tmp_path / "nothing.yaml"), [], False, said.append)
    assert said


@pytest.mark.slow
def test_a_run_that_is_cancelled_takes_its_trainer_along_with_a_checkpoint(small):
    changes, folder = small

    def cancelled(line):
        if "s/step" in line:  # of a step that is done
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_fit(TINY, [*changes, f"train.out={folder / 'run'}", "train.steps=1000"], False, cancelled)
    deadline = time.monotonic() + 5
    while any("matrix_train" in child.cmdline() for child in psutil.Process().children(recursive=True)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert list((folder / "run").glob("**/step-*")), "the checkpoint of the step that was under way"
