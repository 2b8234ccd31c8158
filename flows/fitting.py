"""`matrix_train fit` as a process under a flow: its lines go to the run's log, and who cancels the run stops it."""

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence

from tasks.errors import InfrastructureError, UserError

PATIENCE_S = 25.0
"""How long the trainer may take for its last checkpoint when the run is cancelled: Prefect kills a run after 30 s."""

MISTAKE = 2
"""The trainer's exit code for what its user has to mend."""


def run_fit(config: str, changes: Sequence[str], resume: bool, say: Callable[[str], object]) -> None:
    """Run it to its end. UserError with its last line for a mistake, InfrastructureError for any other bad end.

    In a process of its own, since a run of Prefect's ends at any moment and the trainer's only between two steps.
    """
    command = [sys.executable, "-u", "-m", "matrix_train", "fit", config]
    command += [word for change in changes for word in ("--set", change)]
    command += ["--resume", "auto"] if resume else []
    last = deque[str](maxlen=1)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    ) as trainer:
        try:
            assert trainer.stdout is not None
            for line in map(str.rstrip, trainer.stdout):
                if line:
                    say(line)
                    last.append(line)
        except BaseException:  # cancelled: Prefect raises it here; its lines are read on, for a full pipe would hold it
            trainer.terminate()
            try:
                trainer.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                trainer.kill()
            raise
        code = trainer.wait()
    told = last[0] if last else "it said nothing"
    if code == MISTAKE:
        raise UserError(told)
    if code:
        raise InfrastructureError(f"the trainer ended with exit code {code}: {told}")
