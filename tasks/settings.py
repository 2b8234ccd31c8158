"""Base of every settings class. Each sits beside the stage it configures; `flows/settings.py` puts them together."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen; an unknown key is an error. Every field has a default and a `description` (the Prefect form shows it)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
