"""What holding replies to their schemas costs in this process: `python -m benchmarks.in_process [--full]`.

Tokens a second of the engine, which puts the questions of many clips together, holds each to its schema and checks it,
against bare `generate` with the same prompts in the same batches and as many new tokens, by turns in one run; by wall
time, and by processor time, which is the steadier one on a machine that others use too. The models have random weights:
by default a Qwen3 of four layers with the vocabulary of the real ones, with `--full` all of Qwen3-1.7B, whose real
tokenizer is not needed, since no one reads what is said.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from tasks.engines.asking import build_messages, make_nonce
from tasks.engines.base import BadReply, Message
from tasks.engines.in_process.engine import InProcessLanguage
from tasks.engines.in_process.held import schema_of
from tasks.engines.in_process.network import Asked
from tasks.engines.prompts import load_prompts
from tasks.engines.replies import ScoreReply
from tasks.store.folder import Folder
from tests.tasks.caption.captioning import CAPTION
from tests.tasks.engines.served.tiny_vlm import TEMPLATE, make_tokenizer

BAR = 0.9
VOCABULARY, PIECES = 151_936, 140_000
"""Of Qwen3: a mask is as wide, and a grammar has as many pieces to look at, though these are made up."""

REDUCED = {
    "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 64,
}  # fmt: skip
FULL = {
    "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip


def save(folder: Path, sizes: dict[str, int]) -> None:
    """The model and its tokenizer, as a user has them on disk."""
    tokenizer = make_tokenizer(PIECES)
    tokenizer.chat_template = TEMPLATE
    config = Qwen3Config(
        vocab_size=VOCABULARY, max_position_embeddings=40_960, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, tie_word_embeddings=True, **sizes,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def messages_of(number: int) -> tuple[Message, Message]:
    document = {"caption": f"{CAPTION} It is day {number}.", "triplet": {"interaction": "<id1> kicks <id2>"}}
    nonce = make_nonce(f"{number:016x}", "score", 0)
    return build_messages(load_prompts("v1").texts["score"], document, nonce)


async def ask_all(engine: InProcessLanguage, numbers: range) -> None:
    async def one(number: int) -> None:
        with contextlib.suppress(BadReply):  # text that says nothing is as good as any
            await engine.ask(messages_of(number), ScoreReply)

    await asyncio.gather(*map(one, numbers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as name:
        save(Path(name) / "model", FULL if given.full else REDUCED)
        options = {"checkpoint": f"{name}/model", "device": given.device, "precision": given.precision}
        engine = InProcessLanguage(
            InProcessLanguage.Options(**options, max_tokens=400, batch=given.batch), Folder(f"{name}/replies")
        )
        print(engine.check())
        network = engine.place.network()
        network.model.generation_config.eos_token_id = None  # of bare steps: nothing ends them earlier
        held, bare, processor, tokens = [], [], [], 0
        for round_ in range(given.rounds):
            numbers = range(given.batch * round_, given.batch * (round_ + 1))
            said: list[int] = []
            answer = network.answer
            network.answer = lambda asked, answer=answer, said=said: [  # type: ignore[method-assign]
                one for one in answer(asked) if said.append(one.tokens.completion_tokens) is None
            ]
            began, spent = time.perf_counter(), time.process_time()
            asyncio.run(ask_all(engine, numbers))
            took, cpu = time.perf_counter() - began, time.process_time() - spent
            network.answer = answer  # type: ignore[method-assign]
            # The longest reply says how many steps there were: all rows of a batch take them.
            steps = max(said)
            asked = [Asked(messages_of(n), schema_of(messages_of(n), ScoreReply), 400) for n in numbers]
            given_ids = network.prompts(asked).to(network.device)
            began, spent = time.perf_counter(), time.process_time()
            with torch.inference_mode():
                bare_steps = GenerationConfig(max_new_tokens=steps, do_sample=False)
                network.model.generate(**given_ids, generation_config=bare_steps)
            bare_took, bare_cpu = time.perf_counter() - began, time.process_time() - spent
            processor.append(bare_cpu / cpu)
            held.append(steps * given.batch / took)
            bare.append(steps * given.batch / bare_took)
            tokens += steps * given.batch
        engine.close()
    ratio = statistics.median(h / b for h, b in zip(held, bare, strict=True))
    figures: dict[str, Any] = {
        "model": "Qwen3-1.7B's sizes" if given.full else "4 layers of 512", "device": given.device,
        "batch": given.batch, "threads": given.threads, "tokens": tokens,
        "engine_tokens_per_s": round(statistics.median(held), 1),
        "bare_tokens_per_s": round(statistics.median(bare), 1), "ratio": round(ratio, 3),
        "processor_ratio": round(statistics.median(processor), 3),
        "bar": BAR,
    }  # fmt: skip
    print(f"engine {figures['engine_tokens_per_s']} tokens/s, bare {figures['bare_tokens_per_s']}: ratio {ratio:.3f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
