"""Servers and engines that are closed when a test ends; pauses between tries that tests can wait for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tasks.engines.served import patience
from tasks.engines.served.language import ServedLanguage
from tasks.engines.served.served import Served
from tasks.store.folder import Folder
from tests.tasks.engines.served.fault_server import Asked, FaultServer, good


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def serve() -> Iterator[Callable[..., FaultServer]]:
    """serve(answer, models=…) starts a scripted server."""
    with ExitStack() as stack:
        yield lambda answer=good, models=None: stack.enter_context(FaultServer(answer, models))


@pytest.fixture
def home(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "replies"))


@pytest.fixture
def engine(home: Folder) -> Iterator[Callable[..., Any]]:
    """engine(server or url, kind=ServedLanguage, **options) makes one that is closed in the end."""
    made: list[Served] = []

    def make(server: FaultServer | str, kind: type[Any] = ServedLanguage, at: Folder = home, **options: Any) -> Any:
        url = server if isinstance(server, str) else server.url
        made.append(kind(kind.Options(base_url=url, **options), at))
        return made[-1]

    yield make
    for one in made:
        one.close()


def in_turn(*answers: Any) -> Callable[[Asked], Any]:
    """A script: the first answers in turn, functions of what was asked or ready ones, then the last for ever."""

    def answer(asked: Asked) -> Any:
        told = answers[min(asked.number, len(answers) - 1)]
        return told(asked) if callable(told) else told

    return answer
