"""CMG and CAG in the pipelines, against the formula put together from dense attention."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from matrix_train.attention.cut import Words
from matrix_train.attention.maps import Layout
from matrix_train.backbones import Backbone
from matrix_train.backbones.guidance import Guidance, guided
from matrix_train.backbones.scene import Scene
from matrix_train.errors import UserError
from matrix_train.generate.frames import generate_latents
from tests.matrix_train.backbones.models import KINDS
from tests.matrix_train.components import FRAMES, HEIGHT, WIDTH, stock_pipeline

FLAVOURS = ["5b-i2v", "wan21", "wan22"]
SIZES = {"wan22": (FRAMES, 64, 96)}


def parts(flavour: str) -> tuple[Backbone, Any]:
    pipe, kind = stock_pipeline(flavour), KINDS[flavour][0]
    readers = {part: getattr(pipe, part) for part in kind.encoders.reader_classes}
    return kind(pipe.transformer), kind.encoders(pipe.vae, readers, pipe.tokenizer, pipe.scheduler)


def scene(backbone: Backbone, encoders: Any, guidance: float, cut: Guidance | None, steps: int = 1) -> Scene:
    pixels = torch.randint(0, 255, (HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    length = backbone.prompt_shape[0]
    ids = encoders.tokenizer("a man pushes the red cart", padding="max_length", max_length=length)["input_ids"]
    with torch.no_grad():
        conditions = encoders.read(pixels.permute(2, 0, 1)[None], torch.tensor([ids]))
    return Scene(
        pixels.numpy(), pixels.flip(1).numpy(), conditions, encoders.empty(length), FRAMES, steps, guidance,
        torch.Generator().manual_seed(2), cut,
    )  # fmt: skip


def guidance_of(backbone: Backbone, cmg: float, cag: float) -> Guidance:
    grid = backbone.grid(FRAMES, HEIGHT, WIDTH)
    left = torch.zeros(grid.frames, grid.height, grid.width, dtype=torch.bool)
    left[:, :, : grid.width // 2] = True
    words = Words.of([((0, 1), left.flatten()), ((2,), torch.ones(grid.cells, dtype=torch.bool))])
    return Guidance(cmg, cag, (0, 2), (1, 2), words, grid.frames)


class Dense:
    """Attention by the whole matrix, with the entries of a guidance zeroed."""

    def __init__(self, guidance: Guidance, kind: str) -> None:
        self.guidance, self.kind = guidance, kind

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        matrix = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)
        if self.kind == "cmg":
            words = self.guidance.words
            assert words is not None and layout.text_keys is not None
            for token, cells in zip(words.tokens.tolist(), words.cells, strict=True):
                matrix[:, :, layout.video_queries, layout.text_keys.start + token] *= ~cells
        else:
            assert layout.video_keys is not None
            video = matrix[:, :, layout.video_queries, layout.video_keys]
            frame = torch.arange(video.shape[2]) // (video.shape[2] // self.guidance.frames)
            video *= frame[:, None] == frame
        return matrix @ v


@pytest.mark.parametrize("classifier_free", [1.0, 4.0])
@pytest.mark.parametrize("flavour", FLAVOURS)
@torch.no_grad()
def test_a_step_is_the_formula(flavour: str, classifier_free: float) -> None:
    backbone, encoders = parts(flavour)
    guidance = guidance_of(backbone, 1.5, 0.5)
    stepped: list[Tensor] = []
    plain = type(encoders.scheduler).step

    def step(self: Any, output: Tensor, *args: Any, **kwargs: Any) -> Any:
        stepped.append(output.clone())
        return plain(self, output, *args, **kwargs)

    calls: list[dict[str, Any]] = []
    watched = backbone.model.register_forward_hook(lambda m, a, kw, out: calls.append(kw), with_kwargs=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(encoders.scheduler), "step", step)
        generate_latents(backbone, encoders, scene(backbone, encoders, classifier_free, guidance))
    watched.remove()
    assert {type(a) for a in attentions(backbone)} == {type(backbone.stock_processor())}, "all as it was"

    def answer(call: dict[str, Any], kind: str | None = None) -> Tensor:
        attention = {"cmg": backbone.attentions["v2t"], "cag": backbone.attentions["v2v"]}
        blocks = {"cmg": guidance.cmg_blocks, "cag": guidance.cag_blocks}.get(kind or "", ())
        for block in blocks:
            tapped = backbone.blocks[block].get_submodule(attention[kind or ""])
            tapped.set_processor(backbone.tap_processor(Dense(guidance, kind or "")))  # type: ignore[arg-type]
        out: Tensor = backbone.model.forward(**call)[0]
        for block in blocks:
            backbone.blocks[block].get_submodule(attention[kind or ""]).set_processor(backbone.stock_processor())
        return out

    prompt = calls[0]
    if classifier_free > 1:
        if backbone.prompts_together:
            halves = [
                {
                    n: v[s] if n in ("hidden_states", "encoder_hidden_states", "timestep") else v
                    for n, v in prompt.items()
                }
                for s in (slice(0, 1), slice(1, 2))
            ]
            empty, prompt = halves
        else:
            empty = calls[1]
    told = answer(prompt)
    want = told if classifier_free == 1 else answer(empty) + classifier_free * (told - answer(empty))
    for scale, kind in ((1.5, "cmg"), (0.5, "cag")):
        lacking = told - answer(prompt, kind)
        assert lacking.abs().max() > 1e-4, kind
        want = want + scale * lacking
    torch.testing.assert_close(stepped[0], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21"])
def test_a_scale_of_zero_is_no_guidance_and_costs_nothing(flavour: str) -> None:
    backbone, encoders = parts(flavour)
    counted: list[int] = []
    plain = backbone.model.forward
    backbone.model.forward = lambda *args, **kwargs: (counted.append(1), plain(*args, **kwargs))[1]
    found = []
    for cut in (None, guidance_of(backbone, 0.0, 0.0), guidance_of(backbone, 0.0, 1.0)):
        counted.clear()
        found.append((generate_latents(backbone, encoders, scene(backbone, encoders, 4.0, cut, 2)), len(counted)))
    (none, calls), (zero, same), (guided_, more) = found
    assert torch.equal(none, zero)
    assert same == calls
    assert more == calls + 2, "one more a step"
    assert not torch.allclose(none, guided_)


def attentions(backbone: Backbone) -> list[Any]:
    return [module.processor for module in backbone.model.modules() if hasattr(module, "processor")]


def test_what_cannot_be_guided_is_told() -> None:
    backbone, _ = parts("5b-i2v")
    far = Guidance(0.0, 1.0, (), (7,), None, 3)
    with pytest.raises(UserError, match="block 7 does not exist"), guided(backbone, far, True):
        pass
    assert isinstance(backbone.model, nn.Module)
