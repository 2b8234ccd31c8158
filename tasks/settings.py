"""Base of every settings class. Each sits beside the stage it configures; `flows/settings.py` puts them together."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen; an unknown key is an error. Every field has a default and a `description` (the Prefect form shows it)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    not_in_rows: ClassVar[frozenset[str]] = frozenset()
    """Fields that change how fast rows are made and never what they say: they stay out of the fingerprint."""
