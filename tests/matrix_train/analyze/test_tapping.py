"""AAS read from running pipelines of diffusers, against attention that is formed whole in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanPipeline
from diffusers.pipelines.wan import pipeline_wan, pipeline_wan_i2v
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from matrix_train.align.metrics import latent_masks
from matrix_train.analyze import Role, tap
from matrix_train.analyze.reading import KINDS, Aim, Kept
from matrix_train.analyze.tapping import aim_of, spans_of, tapped
from matrix_train.attention.maps import Layout
from matrix_train.errors import UserError
from tests.matrix_train.backbones.models import attention_of, made, stock
from tests.matrix_train.backbones.test_pipeline import sample as sample_frames
from tests.matrix_train.components import FRAMES, HEIGHT, WIDTH, stock_pipeline, tokenizer
from tests.matrix_train.reference import LargestTensor

PROMPT = "a man pushes the red cart"
TOKENS = {"man": [0, 1], "push": [2], "cart": [3, 4, 5]}
"""One a word (`components.tokenizer`)."""


@pytest.fixture(autouse=True)
def without_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pipeline_wan, pipeline_wan_i2v):
        monkeypatch.setattr(module, "prompt_clean", lambda text: text)


def roles_of(prompt: str = PROMPT, frames: int = FRAMES) -> list[Role]:
    """The cart is out of view at first: it has no query cells."""
    man, cart = np.zeros((2, frames, HEIGHT, WIDTH), dtype=bool)
    for t in range(frames):
        man[t, 10:50, 4 + 3 * t : 40 + 3 * t] = True
    cart[3:, 20:60, 50:90] = True
    return [
        Role("man", spans_of(prompt, "a man"), man),
        Role("push", spans_of(prompt, "pushes"), man | cart),
        Role("cart", spans_of(prompt, "the red cart"), cart),
    ]


def sample(pipe: Any, **changes: Any) -> Tensor:
    """Latents: to decode them takes longer than all else."""
    return sample_frames(pipe, **{"output_type": "latent", **changes})


class Attentions:
    """q and k of every attention of the transformer, as stock diffusers has them."""

    def __init__(self, pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[tuple[Tensor, Tensor]]] = []
        inside = False
        plain = F.scaled_dot_product_attention

        def watched(query: Tensor, key: Tensor, value: Tensor, **kwargs: Any) -> Tensor:
            if inside:
                self.calls[-1].append((query.double(), key.double()))
            return plain(query, key, value, **kwargs)

        def enter(*_: Any) -> None:
            nonlocal inside
            inside = True
            self.calls.append([])

        def leave(*_: Any) -> None:
            nonlocal inside
            inside = False

        monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
        pipe.transformer.register_forward_pre_hook(enter)
        pipe.transformer.register_forward_hook(leave)


def layout_of(flavour: str, kind: str, cells: int) -> Layout:
    if not flavour.startswith("wan"):
        return Layout.joint(12, cells)
    return Layout.alone(cells) if kind == "v2v" else Layout.cross(512, cells)


def dense(q: Tensor, k: Tensor, kind: str, layout: Layout, tokens: list[int], queries: Tensor) -> Tensor:
    """A role's map over the video cells, by the definition."""
    matrix = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=0)
    if kind == "v2t":
        assert layout.text_keys is not None
        return matrix[layout.video_queries, layout.text_keys][:, tokens].mean(dim=1)
    chosen = matrix[layout.video_queries, layout.video_keys][queries]
    return chosen.mean(dim=0) if len(chosen) else torch.zeros(len(queries), dtype=torch.float64)


@pytest.mark.parametrize(
    ("flavour", "guidance"),
    [("5b-i2v", 3.0), ("5b-i2v", 1.0), ("1.5-i2v", 3.0), ("wan21", 3.0), ("wan22", 3.0), ("wan22", 1.0)],
)
def test_every_number_is_the_dense_one_and_the_video_is_the_same(
    flavour: str, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = (128, 192) if flavour == "wan22" else (HEIGHT, WIDTH)
    size = {"height": height, "width": width, "guidance_scale": guidance}
    roles = roles_of()
    if flavour == "wan22":
        roles = [Role(r.name, r.spans, r.masks.repeat(2, axis=1).repeat(2, axis=2)) for r in roles]
    tapped_pipe, pipe = stock_pipeline(flavour), stock_pipeline(flavour)
    with tap(tapped_pipe, PROMPT, roles) as reading:
        video = sample(tapped_pipe, **size)
    theirs = type(pipe.transformer.get_submodule(next(n for n, m in pipe.transformer.named_modules()
                                                     if n.endswith("attn1"))).processor)  # fmt: skip
    assert all(type(m.processor) is theirs for n, m in tapped_pipe.transformer.named_modules() if n.endswith("attn1"))
    seen = Attentions(pipe, monkeypatch)
    assert torch.equal(video, sample(pipe, **size))
    frames = 2 if flavour == "1.5-i2v" else 3
    cells = latent_masks(torch.from_numpy(np.stack([r.masks for r in roles]))[None], 4, 6, 8 // (frames - 1))[0]
    in_turns = flavour.startswith("wan") and guidance > 1
    assert reading.values.shape == (1, 2, 3, 2, 3, 2)
    assert reading.timesteps.shape == (2,)
    worst = 0.0
    assert len(seen.calls) == (4 if in_turns else 2)
    for step, attentions in enumerate(seen.calls[::2] if in_turns else seen.calls):
        for block in range(3):
            for k, kind in enumerate(KINDS):
                at, _ = attention_of(flavour, block, kind)
                layout = layout_of(flavour, kind, cells[0].numel())
                q, keys = (x[-1] for x in attentions[at])
                for r, (role, tokens) in enumerate(zip(roles, TOKENS.values(), strict=True)):
                    queries = cells[r].clone()
                    queries[1:] = False
                    if not role.masks[0].any():
                        queries[:] = False
                    want = dense(q, keys, kind, layout, tokens, queries.flatten())
                    got = reading.values[0, step, block, k, r].double()
                    exact = torch.stack([(want * cells[r].flatten()).sum(), want.sum()])
                    worst = max(worst, float((got - exact).abs().max()), float(((got - exact) / exact.clamp(min=1e-30))
                                                                              .abs().max()))  # fmt: skip
    assert worst < 1e-5


def test_text_to_video_by_two_transformers_is_read_step_by_step() -> None:
    """The noisy steps are the one's, the others the second's: of twice its weights, so that its numbers differ."""
    parts = stock_pipeline("wan21")
    first, second = (stock("wan21", in_channels=16, image_dim=None, added_kv_proj_dim=None) for _ in range(2))
    with torch.no_grad():
        for weight in second.parameters():
            weight.mul_(2)
    pipe = WanPipeline(
        tokenizer=parts.tokenizer, text_encoder=parts.text_encoder, vae=parts.vae, transformer=first,
        transformer_2=second, scheduler=parts.scheduler, boundary_ratio=0.9,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)

    def run() -> Tensor:
        return pipe(
            prompt=PROMPT, height=HEIGHT, width=WIDTH, num_frames=FRAMES, num_inference_steps=2, guidance_scale=3.0,
            generator=torch.Generator().manual_seed(3), output_type="latent",
        ).frames  # fmt: skip

    with tap(pipe, PROMPT, roles_of()) as reading:
        video = run()
    assert torch.equal(video, run())
    assert reading.values.shape == (1, 2, 3, 2, 3, 2)
    noisy, later = reading.timesteps.tolist()
    assert noisy >= 900 > later
    with tap(pipe, PROMPT, roles_of()) as alone:
        pipe.register_to_config(boundary_ratio=None)
        run()
    assert torch.equal(alone.values[:, 0], reading.values[:, 0])
    assert not torch.equal(alone.values[:, 1], reading.values[:, 1])


def test_prompts_of_a_call_keep_to_their_own_roles() -> None:
    other = "the woman lifts a box"
    own = [roles_of(), [Role("woman", spans_of(other, "the woman"), roles_of()[0].masks)]]
    pipe = stock_pipeline()
    options = {"image": torch.rand(2, 3, HEIGHT, WIDTH), "prompt": [PROMPT, other]}
    with tap(pipe, [PROMPT, other], own) as reading:
        sample(pipe, **options)
    assert reading.values.shape == (2, 2, 3, 2, 3, 2)
    assert reading.values[1, :, :, :, 1:].abs().max() == 0, "the second prompt has one role"
    assert (reading.values[1, :, :, :, 0] > 0).all()
    with tap(pipe, [PROMPT] * 3, [own[0]] * 3), pytest.raises(UserError, match=r"3 prompts.* makes 2 videos"):
        sample(pipe, **options)


@torch.no_grad()
def test_videos_of_one_prompt_share_its_roles() -> None:
    backbone = made("5b-i2v")
    latents, conditions, timesteps = backbone.blank(4, FRAMES, HEIGHT, WIDTH)
    own = [roles_of(), roles_of()[:1]]

    def aim(lattice: tuple[int, int, int], length: int) -> Aim:
        return aim_of(tokenizer(), [PROMPT, PROMPT], own, lattice, length)

    with tapped(type(backbone), [backbone.model], aim, lambda: False) as reading:
        backbone.predict(latents, conditions, timesteps)
    assert torch.equal(reading.values[0], reading.values[1])
    assert torch.equal(reading.values[0][..., 0, :], reading.values[2][..., 0, :])
    assert not reading.values[2:, ..., 1:, :].any()


def test_several_videos_a_prompt_are_read_as_each_alone() -> None:
    """Two prompts, two videos of each, with guidance: a row a video, those of a prompt beside each other."""
    parts = stock_pipeline("wan21")
    pipe = WanPipeline(
        tokenizer=parts.tokenizer, text_encoder=parts.text_encoder, vae=parts.vae, scheduler=parts.scheduler,
        transformer=stock("wan21", in_channels=16, image_dim=None, added_kv_proj_dim=None),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    other = "the woman lifts a box"
    whose = {PROMPT: roles_of(), other: [Role("woman", spans_of(other, "the woman"), roles_of()[0].masks)]}
    noise = torch.randn(4, 16, 3, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(0))

    def read(prompts: list[str], latents: Tensor) -> Tensor:
        with tap(pipe, prompts, [whose[prompt] for prompt in prompts]) as reading:
            pipe(
                prompt=prompts, num_videos_per_prompt=len(latents) // len(prompts), latents=latents, height=HEIGHT,
                width=WIDTH, num_frames=FRAMES, num_inference_steps=2, guidance_scale=3.0, output_type="latent",
            )  # fmt: skip
        return reading.values

    together = read([PROMPT, other], noise)
    assert together.shape == (4, 2, 3, 2, 3, 2)
    for video, prompt in enumerate([PROMPT, PROMPT, other, other]):
        own = read([prompt], noise[video : video + 1])
        torch.testing.assert_close(together[video, :, :, :, : own.shape[4]], own[0], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(together[0], together[1], rtol=1e-4)


def test_a_call_that_fails_halfway_leaves_the_pipeline_as_it_was() -> None:
    pipe = stock_pipeline()

    def fail(*_: Any) -> None:
        raise RuntimeError("stopped by hand")

    with pytest.raises(RuntimeError, match="stopped by hand"), tap(pipe, PROMPT, roles_of()) as reading:
        sample(pipe, callback_on_step_end=fail)
    assert reading.values.shape[1] == 1, "the step that was made is read"
    for module in pipe.transformer.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert type(getattr(module, "processor", None)).__module__.split(".")[0] in ("diffusers", "builtins")
    with tap(pipe, PROMPT, roles_of()) as again:
        sample(pipe)
    assert torch.equal(again.values[:, :1], reading.values)


def test_nothing_of_size_n_squared_is_made_and_no_map_stays_unasked() -> None:
    pipe = stock_pipeline("5b-i2v")
    roles = roles_of()
    with tap(pipe, PROMPT, roles, Kept.of([1], [0])) as reading:
        sample(pipe)
    assert set(reading.maps) == {(1, 0, kind) for kind in KINDS}
    (kept,) = reading.maps[1, 0, "v2t"]
    cells = latent_masks(torch.from_numpy(np.stack([r.masks for r in roles]))[None], 4, 6)[0]
    torch.testing.assert_close((kept * cells).sum(dim=(1, 2, 3)), reading.values[0, 0, 1, 0, :, 0])
    with tap(pipe, PROMPT, roles) as plain:
        sample(pipe)
    assert plain.maps == {}
    assert sum(step.numel() for step in plain._steps) == 2 * 3 * 2 * 3 * 2, "two numbers a block, kind, role and step"


@torch.no_grad()
def test_no_tensor_comes_near_n_squared() -> None:
    backbone = made("5b", num_attention_heads=1, num_layers=2, sample_width=80, sample_height=80)
    latents, conditions, timesteps = backbone.blank(2, 5, 640, 640)
    masks = np.zeros((5, 640, 640), dtype=bool)
    masks[:, :320] = True
    aim = aim_of(tokenizer(), [PROMPT], [[Role("man", spans_of(PROMPT, "a man"), masks)]], (2, 40, 40), 12)
    with (
        tapped(type(backbone), [backbone.model], lambda *_: aim, lambda: True) as reading, LargestTensor() as largest,
    ):  # fmt: skip
        backbone.predict(latents, conditions, timesteps)
    assert reading.values.shape == (1, 1, 2, 2, 1, 2)
    assert largest.elements < 3212**2 / 8


def test_mistakes_are_told_in_one_line() -> None:
    pipe = stock_pipeline()
    with pytest.raises(UserError, match="the prompt does not hold 'a dog'"):
        spans_of(PROMPT, "a dog")
    small = Role("man", spans_of(PROMPT, "a man"), np.zeros((FRAMES, 62, 96), dtype=bool))
    with tap(pipe, PROMPT, [small]), pytest.raises(UserError, match="masks of 9×62×96 do not lie on the video's 3×4×6"):
        sample(pipe)
    far = " ".join(["a"] * 12) + " man"
    late = Role("man", spans_of(far, "man"), np.zeros((FRAMES, HEIGHT, WIDTH), dtype=bool))
    with tap(pipe, far, [late]), pytest.raises(UserError, match="role 'man': its text ends after token 12"):
        sample(pipe, prompt=far)
    with pytest.raises(UserError, match="2 prompts and roles of 1"), tap(pipe, [PROMPT, PROMPT], [[small]]):
        pass

    class Other:
        transformer = torch.nn.Linear(1, 1)

    with pytest.raises(UserError, match="a Linear cannot be read here; CogVideoX"), tap(Other(), PROMPT, [small]):
        pass
    assert all(type(m.processor).__module__.startswith("diffusers") for n, m in pipe.transformer.named_modules()
               if n.endswith("attn1")), "their own processors are back"  # fmt: skip
