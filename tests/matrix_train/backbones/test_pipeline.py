"""The pipeline that takes an ID map, of tiny real components, against diffusers' own."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.wan import pipeline_wan_i2v
from PIL import Image
from torch import Tensor

from matrix_train.errors import UserError
from schemas import palette
from tests.matrix_train.backbones.models import KINDS
from tests.matrix_train.components import FRAMES, HEIGHT, WIDTH, stock_pipeline

ALL = ["5b-i2v", "1.5-i2v", "wan21", "wan22"]


@pytest.fixture(autouse=True)
def without_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wan's pipeline mends prompts by a library that is not there; these want no mending."""
    monkeypatch.setattr(pipeline_wan_i2v, "prompt_clean", lambda text: text)


def frame() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def id_map(left: int = 1, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A palette PNG's image: one ID on the left half."""
    indices = np.zeros((size[1], size[0]), dtype=np.uint8)
    indices[:, : size[0] // 2] = left
    image = Image.fromarray(indices, mode="P")
    image.putpalette([channel for colour in palette.PALETTE for channel in colour])
    return image


def sample(pipe: Any, seed: int = 3, **changes: Any) -> Tensor:
    options = {
        "image": frame(),
        "prompt": "a man pushes the red cart",
        "height": HEIGHT,
        "width": WIDTH,
        "num_frames": FRAMES,
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "max_sequence_length": pipe.tokenizer.model_max_length,
        "output_type": "pt",
        "generator": torch.Generator().manual_seed(seed),
        **changes,
    }
    return pipe(**options).frames


def grown(flavour: str, weight: float = 0.0) -> Any:
    """With weights of this size for the new channels."""
    pipe, kind = stock_pipeline(flavour), KINDS[flavour][0]
    columns = kind.input_of(pipe.transformer).weight.shape[1]
    kind.grow_input(pipe.transformer)
    with torch.no_grad():
        # Not one value for all: a norm may take off what all features of a token have in common.
        new = kind.input_of(pipe.transformer).weight[:, columns:]
        new.copy_(weight * torch.randn(new.shape, generator=torch.Generator().manual_seed(4)))
    loaded = kind.pipeline(pipe)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21", "wan22"])
def test_what_it_saves_can_be_read_again(tmp_path, flavour) -> None:
    pipe = grown(flavour, 0.1)
    pipe.save_pretrained(tmp_path / "saved")
    ours = type(pipe).from_pretrained(tmp_path / "saved")
    ours.set_progress_bar_config(disable=True)
    # Read again, the input layer is a plain one, which adds all channels in one sum.
    torch.testing.assert_close(sample(ours, id_map=id_map()), sample(pipe, id_map=id_map()), rtol=1e-3, atol=1e-3)
    assert type(DiffusionPipeline.from_pretrained(tmp_path / "saved")) is type(stock_pipeline(flavour))


@pytest.mark.parametrize("flavour", ALL)
def test_zero_new_weights_give_the_stock_video_bit_for_bit(flavour) -> None:
    # 1.5 joins two latent frames in a token: 9 frames are 3 latent ones, and are filled up to 4.
    want = sample(stock_pipeline(flavour))
    assert want.shape == (1, FRAMES, 3, HEIGHT, WIDTH)
    pipe = grown(flavour)
    for k in (1, 2):
        assert torch.equal(sample(pipe, id_map=id_map(k)), want)


@pytest.mark.parametrize("flavour", ALL)
def test_the_id_map_matters_once_its_weights_do(flavour) -> None:
    pipe = grown(flavour, weight=0.1)
    videos = [sample(pipe, id_map=id_map(k)) for k in (1, 2, 1)]
    assert not torch.allclose(videos[0], videos[1])
    assert torch.equal(videos[0], videos[2])


@pytest.mark.parametrize("flavour", ["5b-i2v", "1.5-i2v"])
@torch.no_grad()
def test_the_conditions_are_image_and_id_map_in_the_first_frame_alone(flavour) -> None:
    pipe = grown(flavour)
    seen: list[Tensor] = []
    pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["hidden_states"]), with_kwargs=True
    )
    sample(pipe, id_map=id_map(), num_inference_steps=1)
    conditions = seen[0][1]
    assert conditions.shape[1] == 48
    assert not conditions[1:, 16:].any()
    pixels = pipe.video_processor.preprocess(id_map().convert("RGB"), HEIGHT, WIDTH)
    latent = pipe.vae.encode(pixels.unsqueeze(2)).latent_dist.mode()[0, :, 0]
    scale = 1 / 0.7 if flavour == "1.5-i2v" else 0.7
    torch.testing.assert_close(conditions[0, 32:], latent * scale, rtol=0, atol=1e-6)


@torch.no_grad()
def test_1_5_fills_up_in_front_of_both_conditions_alike() -> None:
    """Called with an odd number of latent frames, as diffusers' own method may be, the first frame stands twice."""
    pipe = grown("1.5-i2v")
    pipe._id_map = id_map()
    image = pipe.video_processor.preprocess(frame(), HEIGHT, WIDTH)
    noise, conditions = pipe.prepare_latents(image, 1, 24, FRAMES, HEIGHT, WIDTH, torch.float32, torch.device("cpu"))
    assert noise.shape[1:3] == (4, 16)
    assert conditions.shape[1:3] == (4, 32)
    assert torch.equal(conditions[:, 0], conditions[:, 1])
    assert conditions[:, 1, 16:].any()
    assert not conditions[:, 2:].any()


def test_a_map_of_another_size_keeps_its_colours() -> None:
    pipe = grown("5b-i2v", weight=0.1)
    large = id_map(size=(WIDTH * 3, HEIGHT * 3))
    assert torch.equal(sample(pipe, id_map=large), sample(pipe, id_map=id_map()))


def test_images_lists_and_tensors_are_the_same_map() -> None:
    pipe = grown("5b-i2v", weight=0.1)
    want = sample(pipe, id_map=id_map())
    pixels = torch.tensor(np.asarray(id_map().convert("RGB"))).permute(2, 0, 1)[None] / 255
    for given in ([id_map()], id_map().convert("RGB"), pixels):
        assert torch.equal(sample(pipe, id_map=given), want)


def test_one_map_per_prompt() -> None:
    pipe = grown("5b-i2v", weight=0.1)
    both = sample(
        pipe, image=[frame(), frame()], prompt=["a man", "a woman"], id_map=[id_map(1), id_map(2)], output_type="latent"
    )
    other = sample(
        pipe, image=[frame(), frame()], prompt=["a man", "a woman"], id_map=[id_map(1), id_map(3)], output_type="latent"
    )
    assert torch.equal(both[0], other[0])
    assert not torch.allclose(both[1], other[1])


@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21"])
def test_the_id_map_is_required(flavour) -> None:
    with pytest.raises(TypeError, match="id_map"):
        sample(grown(flavour))


@pytest.mark.parametrize(("flavour", "channels"), [("5b-i2v", (32, 48)), ("wan21", (36, 56)), ("wan22", (48, 96))])
def test_a_transformer_that_was_not_grown_is_named(flavour, channels) -> None:
    pipe = KINDS[flavour][0].pipeline(stock_pipeline(flavour))
    with pytest.raises(UserError, match=f"reads {channels[0]} input channels, an ID map needs {channels[1]}"):
        sample(pipe, id_map=id_map())


@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21", "wan22"])
@torch.no_grad()
def test_training_and_sampling_show_the_model_the_same(flavour) -> None:
    """Latents aside: what `Encoders` makes of a clip is what the pipeline hands to the transformer."""
    pipe, kind = grown(flavour), KINDS[flavour][0]
    seen: list[dict[str, Any]] = []
    real = pipe.transformer.forward
    pipe.transformer.forward = lambda **kwargs: (seen.append(kwargs), real(**kwargs))[1]
    sample(pipe, id_map=id_map(), num_inference_steps=1)
    readers = {part: getattr(pipe, part) for part in kind.encoders.reader_classes}
    encoders = kind.encoders(pipe.vae, readers, pipe.tokenizer, pipe.scheduler)
    first, ids = (torch.from_numpy(np.array(p.convert("RGB"))).permute(2, 0, 1)[None] for p in (frame(), id_map()))
    video = torch.cat([first[:, None], torch.randint(0, 255, (1, FRAMES - 1, 3, HEIGHT, WIDTH), dtype=torch.uint8)], 1)
    words = pipe.tokenizer("a man pushes the red cart", padding="max_length")["input_ids"]
    backbone = kind(pipe.transformer)
    known = encoders.encode(video, ids, torch.tensor([words]))
    if encoders.image_noise:
        # The pipeline draws it, as training does.
        channels = seen[0]["hidden_states"][1:, :, 16:32]
        known["image"] = channels[:, :1]
    grid = backbone.grid(FRAMES, HEIGHT, WIDTH)
    shown: dict[str, Any] = {}
    backbone.model.forward = lambda *args, **kwargs: (shown.update(kwargs) or kwargs["hidden_states"],)
    noise = torch.zeros(1, *backbone.latent_shape(FRAMES, HEIGHT, WIDTH))
    backbone.forward(noise, encoders.conditions(known, known["prompt"], grid), seen[0]["timestep"][:1].flatten()[-1:])
    # With guidance CogVideoX has both prompts in one call, the empty one first; Wan the prompt's in a call of its own.
    mine = slice(1, 2) if flavour == "5b-i2v" else slice(0, 1)
    torch.testing.assert_close(shown["encoder_hidden_states"], seen[0]["encoder_hidden_states"][mine])
    got, want = shown["hidden_states"], seen[0]["hidden_states"][mine]
    axis = 2 if flavour == "5b-i2v" else 1
    latents = noise.shape[2]
    conditions = [x.narrow(axis, latents, x.shape[axis] - latents) for x in (got, want)]
    torch.testing.assert_close(*conditions, rtol=1e-4, atol=1e-4)
    if flavour == "wan21":
        torch.testing.assert_close(
            shown["encoder_hidden_states_image"], seen[0]["encoder_hidden_states_image"], rtol=1e-4, atol=1e-4
        )
    if flavour == "wan22":
        torch.testing.assert_close(shown["timestep"], seen[0]["timestep"].to(shown["timestep"].dtype))
        torch.testing.assert_close(got[:, :latents, :1], want[:, :latents, :1], rtol=1e-4, atol=1e-4)
