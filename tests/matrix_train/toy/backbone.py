"""What the trainer must know of it: `Encoders` of its pipeline, and the `Backbone`."""

# ruff: noqa: ARG003, ARG004  (it takes every model and clip alike)

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler
from torch import Tensor
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from matrix_train.attention.grid import Grid
from matrix_train.attention.maps import Direction
from matrix_train.backbones import Backbone, Conditions, Encoders
from matrix_train.backbones.collector import Tap
from matrix_train.backbones.objective import Flow, Objective
from matrix_train.backbones.scene import Clip, Released, Scene
from matrix_train.backbones.tiny import PIPELINE, TEXT_WIDTH, VOCABULARY, make_tokenizer, making
from tests.matrix_train.toy.transformer import Processor, ToyTransformer

VAE = {"base_dim": 4, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
TEXT = T5Config(
    vocab_size=2 * VOCABULARY, d_model=TEXT_WIDTH, d_kv=16, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0
)


class ToyEncoders(Encoders):
    vae_class = AutoencoderKLWan
    reader_classes: ClassVar[Mapping[str, Any]] = {"text_encoder": T5EncoderModel}
    tokenizer_class = T5Tokenizer
    scheduler_classes = (UniPCMultistepScheduler,)
    prediction_type = "flow_prediction"
    image_noise = False

    @classmethod
    def released(cls) -> Self:
        return cls.on_meta(VAE, {"text_encoder": TEXT}, None, None, torch.float32)

    @torch.no_grad()
    def prompt(self, input_ids: Tensor) -> Tensor:
        return self.readers["text_encoder"](input_ids)[0]

    def latent_scale(self) -> tuple[float, float]:
        return 1.0, 0.0

    def conditions(self, known: Mapping[str, Tensor], prompt: Tensor, grid: Grid) -> Conditions:
        """The ID map's latent in every frame; the first frame's is left to the noised latents."""
        return {"id_map": known["id_map"].expand(-1, grid.latent_frames, -1, -1, -1), "prompt": prompt}

    def timesteps(self, drawn: Tensor) -> Tensor:
        return drawn * 1000


class Toy(Backbone):
    """Cells of 8 pixels; text to video, with 16 channels more for the ID map."""

    name: ClassVar[str] = "toy"
    model_class: ClassVar[Any] = ToyTransformer
    encoders: ClassVar[type[Encoders]] = ToyEncoders
    objective: ClassVar[type[Objective]] = Flow
    released: ClassVar[Released] = Released("tiny.yaml", {"in_channels": 16}, (9, 64, 96))
    blocks_in: ClassVar[str] = "layers"
    attentions: ClassVar[Mapping[Direction, str]] = {"v2t": "mix", "v2v": "mix", "t2v": "mix"}
    lora_targets: ClassVar[str] = r"mix\.(query|key|value|out)"
    input_layer: ClassVar[str] = "embed"
    prompts_together: ClassVar[bool] = True

    @classmethod
    def takes(cls, config: Mapping[str, Any]) -> bool:
        return True

    @classmethod
    def input_channels(cls, config: Mapping[str, Any]) -> int:
        return 32

    @classmethod
    def sized(cls, heads: int, blocks: int, frames: int, height: int, width: int) -> dict[str, Any]:
        return {**cls.released.config, "depth": blocks}

    @staticmethod
    def make_tiny(folder: Path, captions: Iterable[str], clip: Clip, max_tokens: int, seed: int = 0) -> None:
        with making(folder, seed) as scratch:
            parts = {
                "tokenizer": make_tokenizer(scratch, captions), "text_encoder": T5EncoderModel(TEXT),
                "vae": AutoencoderKLWan(**VAE), "transformer": ToyTransformer(in_channels=16, tokens=max_tokens),
                "scheduler": UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
            }  # fmt: skip
            for name, part in parts.items():
                part.save_pretrained(scratch / PIPELINE / name)

    @staticmethod
    def pipeline(pipe: Any) -> Any:
        return pipe

    @property
    def prompt_shape(self) -> tuple[int, int]:
        return self.model.config.tokens, self.model.config.text_width

    @property
    def fps(self) -> float:
        return 8.0

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        return self.grid(frames, height, width).latent_frames, 16, height // 8, width // 8

    def grid(self, frames: int, height: int, width: int) -> Grid:
        return Grid.of((frames, height, width), pixels=8, vae_time=4)

    def condition_shapes(self, frames: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        return {"id_map": self.latent_shape(frames, height, width), "prompt": self.prompt_shape}

    def forward(self, latents: Tensor, conditions: Conditions, timesteps: Tensor) -> Tensor:
        return self.model(torch.cat([latents, conditions["id_map"]], dim=2), conditions["prompt"], timesteps)

    def denoise(self, encoders: Encoders, scene: Scene) -> Tensor:
        shape = self.latent_shape(scene.frames, *scene.image.shape[:2])
        noise = torch.randn(1, *shape, generator=scene.generator)
        return noise - self.forward(noise, scene.conditions, torch.full((1,), 1000.0))

    @staticmethod
    def stock_processor() -> Processor:
        return Processor()

    @staticmethod
    def tap_processor(tap: Tap) -> Processor:
        return Processor(tap)

    @staticmethod
    def lattice(config: Mapping[str, Any], states: Sequence[int]) -> tuple[int, int, int]:
        return states[1], states[3], states[4]
