"""What diffusers' image-to-video pipelines need to take an ID map: mixed into them by a backbone."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor

from matrix_train.errors import UserError


class TakesIdMap:
    """One more argument in the call of a pipeline, `id_map`. Everything else is diffusers' own."""

    stock: ClassVar[Any]
    """diffusers' class."""
    transformer: Any
    video_processor: Any

    @staticmethod
    def input_channels(config: Mapping[str, Any]) -> int:
        """Channels that the transformer reads with an ID map."""
        raise NotImplementedError

    def __call__(self, *args: Any, id_map: Image.Image | list[Image.Image] | Tensor, **kwargs: Any) -> Any:
        """As diffusers' own call, with the ID map I0 of the first frame: one, or where it takes several prompts with an
        image each, one a prompt.

        id_map: palette images of any mode, shown to the VAE as RGB, resized without mixing colours; or a tensor
        [B, 3, H, W] in [0, 1], as for `image`. UserError where the transformer cannot read an ID map.
        """
        config = self.transformer.config
        if config.in_channels != self.input_channels(config):
            raise UserError(
                f"the transformer reads {config.in_channels} input channels, an ID map needs "
                f"{self.input_channels(config)}: load a trained run into the pipeline first (matrix_train.load_into)"
            )
        self._id_map = id_map
        try:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        finally:
            del self._id_map

    def to_json_string(self) -> str:
        """`model_index.json` names diffusers' own class, since diffusers finds no other.

        Our class reads by `from_pretrained` what `save_pretrained` wrote; diffusers' does, and gets no ID map.
        """
        index = json.loads(super().to_json_string())  # type: ignore[misc]
        return json.dumps(index | {"_class_name": self.stock.__name__}, indent=2) + "\n"

    def id_map_pixels(self, height: int, width: int) -> Tensor:
        """The call's ID maps as the VAE takes pictures: [B, 3, height, width] in −1 … 1."""
        id_map = self._id_map
        if not isinstance(id_map, Tensor):
            images = [id_map] if isinstance(id_map, Image.Image) else id_map
            # Palette indices are no colours, and smooth resizing would mix colours into other instances' ones.
            id_map = [image.convert("RGB").resize((width, height), Image.Resampling.NEAREST) for image in images]
        pixels: Tensor = self.video_processor.preprocess(id_map, height=height, width=width)
        return pixels
