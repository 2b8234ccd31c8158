"""The embedded engines have nothing to set. Their versions stand here, where none of their code is needed to read them.

Raise one whenever the engine would answer the same question in another way.
"""

from typing import ClassVar

from tasks.engines.options import EngineOptions


class LanguageOptions(EngineOptions):
    engine: ClassVar[str] = "embedded-language/1"


class VerifierOptions(EngineOptions):
    engine: ClassVar[str] = "embedded-verifier/1"


class DetectorOptions(EngineOptions):
    engine: ClassVar[str] = "embedded-detector/1"


class TrackerOptions(EngineOptions):
    engine: ClassVar[str] = "embedded-tracker/3"


class Weightless:
    """An engine that needs neither settings nor a folder: it is made with them as all are, or with nothing."""

    def __init__(self, *_: object) -> None:
        pass
