"""The memory plan counts weights to the byte, grows with what is asked, and a laptop holds it."""

import torch
from transformers import Qwen3ForCausalLM, Qwen3VLForConditionalGeneration, Sam2VideoModel

from flows.cli.forecast import memory
from flows.settings import load_settings
from tasks.engines.grounding_dino.options import DinoOptions
from tasks.engines.in_process.options import CaptionerOptions, LanguageOptions, VerifierOptions
from tasks.engines.plan import KNOWN, need_of
from tasks.engines.sam2.options import Sam2Options
from tasks.engines.served.options import LanguageOptions as ServedOptions
from tests.tasks.engines import tiny_language, tiny_sam2
from tests.tasks.engines.served import tiny_vlm

GB = 1e9


def weights_of(model: torch.nn.Module) -> int:
    return sum(t.numel() * t.element_size() for part in (model.parameters(), model.buffers()) for t in part)


def test_weights_are_those_of_the_model_that_is_loaded(tmp_path):
    tiny_language.save_tiny(tmp_path / "llm")
    tiny_vlm.save_tiny(tmp_path / "vlm")
    tiny_sam2.save_tiny(tmp_path / "sam2", "transformers", 1)
    made = {
        "llm": (LanguageOptions, {"device": "cpu"}, Qwen3ForCausalLM),
        "vlm": (VerifierOptions, {"device": "cpu"}, Qwen3VLForConditionalGeneration),
        "sam2": (Sam2Options, {"device": "cpu", "implementation": "transformers"}, Sam2VideoModel),
    }
    for name, (kind, more, model) in made.items():
        need = need_of(kind(checkpoint=str(tmp_path / name), **more), 49, 8)
        assert need.weights == weights_of(model.from_pretrained(tmp_path / name)), name
        assert need.work > 0
    half = need_of(LanguageOptions(checkpoint=str(tmp_path / "llm"), device="cpu", precision="bf16"), 49, 8)
    whole = need_of(LanguageOptions(checkpoint=str(tmp_path / "llm"), device="cpu"), 49, 8)
    assert half.weights < 0.6 * whole.weights


def test_published_sizes_are_those_that_their_cards_tell():
    need = {name: need_of(kind(checkpoint=name, device="cpu", **more), 49, 8) for name, kind, more in (
        ("Qwen/Qwen3-VL-2B-Instruct", LanguageOptions, {"precision": "bf16"}),
        ("IDEA-Research/grounding-dino-tiny", DinoOptions, {"implementation": "transformers"}),
        ("facebook/sam2.1-hiera-tiny", Sam2Options, {"implementation": "transformers"}),
    )}  # fmt: skip
    assert set(need) == set(KNOWN)
    vlm, dino, sam2 = (one.weights for one in need.values())
    assert 4.2 * GB < vlm < 4.4 * GB  # 2.13 billion parameters
    assert 0.68 * GB < dino < 0.70 * GB  # 172 million
    assert 0.15 * GB < sam2 < 0.16 * GB  # 39 million


def test_more_frames_questions_and_pixels_need_more():
    def work(kind=VerifierOptions, frames=49, shown=8, name="Qwen/Qwen3-VL-2B-Instruct", **more):
        return need_of(kind(checkpoint=name, device="cpu", **more), frames, shown).work

    assert work() < work(batch=16) and work() < work(frame_side=1024) and work() < work(max_tokens=4096)
    assert work(CaptionerOptions) < work(CaptionerOptions, shown=16)
    track = {"kind": Sam2Options, "name": "facebook/sam2.1-hiera-tiny", "implementation": "transformers"}
    assert work(**track) < work(**track, frames=100) < work(**track, frames=1000) == work(**track, frames=9000)
    detect = {"kind": DinoOptions, "name": "IDEA-Research/grounding-dino-tiny", "implementation": "transformers"}
    assert work(**detect, batch=1) < work(**detect, batch=2)
    assert need_of(ServedOptions(), 49, 8) is None


def test_a_laptop_holds_the_profile_laptop_stage_by_stage():
    """The bar is 12 GB at the peak, of the 16 GB that it has."""

    def of(*sets):
        return memory(load_settings("laptop", list(sets), source="none", out="none"))

    apart, told = of()
    assert apart <= 12 * GB
    assert told.startswith("at most ") and all(stage in told for stage in ("caption", "propose", "verify", "track"))
    together, _ = of("run.stage_by_stage=false")
    assert apart < together
    assert of("engines.detector.options.batch=64")[0] > 16 * GB
    assert memory(load_settings("local", [], source="none", out="none")) == (0.0, "no model in this process")
