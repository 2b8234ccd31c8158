"""Which model a server really serves: read from its `/models`, compared with what the profile names."""

from pydantic import BaseModel, ConfigDict, Field

from schemas.text import one_line
from tasks.engines.options import model_name
from tasks.errors import UserError


class ServedModel(BaseModel):
    """One entry of the list. `created` is left out: servers make it anew at each start."""

    model_config = ConfigDict(frozen=True, strict=True)

    id: str = Field(min_length=1, max_length=500)
    root: str | None = Field(default=None, max_length=1000)
    revision: str | None = Field(default=None, max_length=200)
    max_model_len: int | None = None

    @property
    def name(self) -> str:
        """Name, root where it says more, and revision; of a path the last part, since no path goes on record."""
        root = f" root {model_name(self.root)}" if self.root and model_name(self.root) != model_name(self.id) else ""
        return one_line(model_name(self.id) + root + (f" @{self.revision}" if self.revision else ""), 300)


class Listing(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    data: list[ServedModel] = Field(max_length=100_000)


def pick(listing: Listing, wanted: str | None, server: str) -> ServedModel:
    """The entry that the profile means. UserError names what there is instead."""
    served = ", ".join(one_line(m.id, 100) for m in listing.data[:20]) or "no model at all"
    if wanted is None:
        if len(listing.data) == 1:
            return listing.data[0]
        raise UserError(f"{server} serves {served}: set the engine's option `model` to the one to use")
    for model in listing.data:
        if model.id == wanted:
            return model
    raise UserError(
        f"{server} does not serve {wanted!r} but {served}: correct the engine's option `model`, or start the server "
        "with that model (docs/engines/language.md)"
    )
