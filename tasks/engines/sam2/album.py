"""The image features of a clip: made once per frame, shared by all IDs and both directions, bounded."""

import torch

from tasks.engines.base import Frames
from tasks.engines.sam2.memory import Features, Model


class Album:
    """Features by frame: made when first asked for, kept while needed again, never of more than `limit` frames.

    Needed again are the frames before the last anchor, for the way back, and the last `behind` frames of a clip that
    goes in windows, for prompts. Where a clip is longer than `limit` and its anchors lie far apart, the frames between
    them that no longer fit are encoded a second time.
    """

    def __init__(
        self, model: Model, frames: Frames, last: int, behind: int, limit: int, keep_on: torch.device | None
    ) -> None:
        """last: the last anchor's frame; keep_on: device on which features wait, None for the model's."""
        self.model, self.frames, self.last = model, frames, last
        self.behind, self.limit, self.keep_on = behind, limit, keep_on
        self.backwards = False
        self.current: tuple[int, Features] | None = None
        self.kept: dict[int, Features] = {}

    def get(self, t: int) -> Features:
        """Features of frame t, on the model's device."""
        if self.current is not None and self.current[0] == t:
            return self.current[1]
        if t in self.kept:
            features = self.kept[t]
            if self.keep_on is not None:
                features = tuple(x.to(self.model.device) for x in features)
        else:
            features = self.model.look(self.frames[t])
            self.kept[t] = features if self.keep_on is None else tuple(x.to(self.keep_on) for x in features)
        self.current = (t, features)
        return features

    def leave(self, now: int) -> None:
        """Frame `now` is done: let go of all that is not needed after it."""
        self.current = None
        for t in [t for t in self.kept if not self._wanted(t, now)]:
            del self.kept[t]
        while len(self.kept) > self.limit:
            del self.kept[max(self.kept, key=lambda t: abs(t - now))]

    def turn_round(self) -> None:
        """From here on frames are left in falling order."""
        self.backwards = True
        self.leave(self.last)

    def _wanted(self, t: int, now: int) -> bool:
        if self.backwards:
            return t < now or t - now < self.behind
        return t < self.last or now - t < self.behind
