"""The trainer's command in processes of its own."""

import os
from collections.abc import Iterator

import pytest

from tests.forked import forks
from tests.matrix_train.fitting import ON_CPU, Trainer


@pytest.fixture(scope="session")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    modules = ["matrix_train.cli.app", "matrix_train.cli.commands"]
    with forks(os.environ | ON_CPU, modules) as found:
        yield Trainer(found, tmp_path_factory.mktemp("trainers"))
