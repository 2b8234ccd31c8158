"""A causal or vision-language model of transformers on its device, with what turns messages into its tokens and back.

Engines that name the same model share one. It is loaded with the first question and can be let go of in between.
"""

import importlib.util
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError

from tasks.engines.base import Message
from tasks.engines.devices import in_parts, pick_device, pick_dtype
from tasks.engines.hub import where
from tasks.engines.in_process.held import Grammars, Held
from tasks.engines.in_process.line import Line
from tasks.engines.in_process.options import InProcessOptions
from tasks.engines.served.wire import Tokens
from tasks.engines.weights import digest_of, hub_commit, local_folder, read_json
from tasks.errors import InfrastructureError, UserError

WHAT = "engine transformers"
"""How errors name these engines."""


@dataclass(frozen=True)
class Asked:
    """One question, as it is put to the model."""

    messages: tuple[Message, ...]
    schema: dict[str, Any]
    """What the reply is held to."""
    most: int
    """Most tokens of it."""


@dataclass(frozen=True)
class Said:
    """What the model said."""

    text: str
    tokens: Tokens
    problem: str = ""
    """Why it is no whole answer."""


class Network:
    """The loaded model. One call at a time."""

    def __init__(self, options: InProcessOptions, device: torch.device, dtype: torch.dtype) -> None:
        """Loads it. UserError where it cannot be had whole."""
        self.device = device
        self.model, self.sees, self.reader = _load(options, device, dtype)
        self.tokenizer = self.reader.tokenizer if self.sees else self.reader
        self.tokenizer.padding_side = "left"
        # A reply is JSON from its first token on, so that nothing can be thought before.
        self._more = {"enable_thinking": False} if "enable_thinking" in str(self.reader.chat_template) else {}
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        text = self.model.config.get_text_config()
        self.context = int(text.max_position_embeddings)
        ends = self.model.generation_config.eos_token_id
        self.ends = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
        self.grammars = Grammars(self.tokenizer, int(text.vocab_size), sorted(self.ends))
        self.parameters = sum(p.numel() for p in self.model.parameters())

    def prompts(self, asked: Sequence[Asked]) -> Any:
        """The questions as the model's input, padded on the left: tensors by name."""
        texts = [
            self.reader.apply_chat_template(
                [self._turn(message) for message in one.messages],
                tokenize=False, add_generation_prompt=True, **self._more,
            )
            for one in asked
        ]  # fmt: skip
        # A template writes the first token itself, if the model has one.
        bos = self.tokenizer.bos_token
        more: dict[str, Any] = {"add_special_tokens": False} if bos and texts[0].startswith(bos) else {}
        images = [[Image.fromarray(i) for message in one.messages for i in message.images] for one in asked]
        if any(images):
            more["images"] = images
        return self.reader(text=texts, padding=True, return_tensors="pt", **more)

    def _turn(self, message: Message) -> dict[str, Any]:
        if not self.sees:
            return {"role": message.role, "content": message.text}
        parts = [*({"type": "image"} for _ in message.images), {"type": "text", "text": message.text}]
        return {"role": message.role, "content": parts}

    @torch.inference_mode()
    def answer(self, asked: Sequence[Asked]) -> list[Said]:
        """The replies, each held to its schema; found greedily. All may have the same number of tokens."""
        given = self.prompts(asked).to(self.device)
        prompt, most, sent = given["input_ids"].shape[1], asked[0].most, given["attention_mask"].sum(1).tolist()
        if prompt + most > self.context:
            return self._without_the_too_long(asked, sent)
        held = Held(self.grammars, [one.schema for one in asked], most)
        made = self.generate(given, most, [held])[:, prompt:].tolist()
        return [self._said(tokens, length) for tokens, length in zip(made, sent, strict=True)]

    def _without_the_too_long(self, asked: Sequence[Asked], sent: Sequence[int]) -> list[Said]:
        """Those that the model can read are answered. sent: tokens of each."""
        fit = [length + one.most <= self.context for one, length in zip(asked, sent, strict=True)]
        said = iter(self.answer([one for one, fits in zip(asked, fit, strict=True) if fits]) if any(fit) else ())
        why = f"the question is too long: {{}} tokens and a reply of {asked[0].most}; the model reads {self.context}"
        return [
            next(said) if fits else Said("", Tokens(prompt_tokens=length), why.format(length))
            for fits, length in zip(fit, sent, strict=True)
        ]

    def generate(self, given: Any, most: int, processors: Sequence[Any] = ()) -> torch.Tensor:
        """transformers' own generation, without what the checkpoint says of sampling."""
        from transformers import GenerationConfig

        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=sorted(self.ends),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        made: torch.Tensor = self.model.generate(**given, generation_config=config, logits_processor=list(processors))
        return made

    def _said(self, tokens: list[int], length: int) -> Said:
        end = next((n for n, token in enumerate(tokens) if token in self.ends), None)
        own = tokens if end is None else tokens[:end]
        text = self.tokenizer.decode(own, skip_special_tokens=True)
        count = len(own) if end is None else end + 1
        cut = "" if end is not None else "the reply was cut off at the token limit (max_tokens): shorter, or allow more"
        return Said(text, Tokens(prompt_tokens=length, completion_tokens=count), cut)


class Place:
    """Where the engines of one model find it."""

    def __init__(self, options: InProcessOptions) -> None:
        """UserError for whatever is wrong and can be known without loading weights."""
        self.options = options
        self.device = pick_device(options.device, WHAT)
        self.dtype = pick_dtype(options.precision, self.device)
        self.folder = local_folder(options.checkpoint, WHAT)
        if self.folder is not None:
            _check_folder(self.folder)
        if options.quantize != "none" and importlib.util.find_spec("bitsandbytes") is None:
            raise UserError(f"{WHAT}: quantize: {options.quantize} needs the package bitsandbytes: pip install it")
        self.lock = threading.RLock()
        self.line = Line[Asked, Said](self._answer)
        self._network: Network | None = None
        self._found = ""

    @property
    def found(self) -> str:
        """What the settings leave open, as it was when the model was loaded; loads it where it has never been."""
        if not self._found:  # looked at without the lock, which is held while the model answers
            self.network()
        return self._found

    def network(self) -> Network:
        """The model, loaded where it is not. InfrastructureError where the device does not hold it."""
        with self.lock:
            if self._network is None:
                try:
                    self._network = Network(self.options, self.device, self.dtype)
                except torch.cuda.OutOfMemoryError as error:
                    raise InfrastructureError(f"{WHAT}: the GPU's memory does not hold the weights") from error
                self._found = f"weights {self._weights()}"
            return self._network

    def _answer(self, asked: Sequence[Asked]) -> list[Said]:
        with self.lock:
            return in_parts(asked, self.network().answer, len(asked), WHAT)

    def _weights(self) -> str:
        if self.folder is None:
            return hub_commit(self.options.checkpoint, self.options.revision)
        return digest_of(self.folder / "config.json", *sorted(self.folder.glob("*.safetensors")))

    def release(self) -> None:
        """Let go of the model; the next question loads it again."""
        with self.lock:
            self._network = None


_places: dict[tuple[Any, ...], Place] = {}
_lock = threading.Lock()


def place_of(options: InProcessOptions) -> Place:
    """The place of the model that the options name, one for all engines of the process that name the same."""
    place = Place(options)
    key = (options.checkpoint, options.revision, place.device, place.dtype, options.quantize)
    with _lock:
        return _places.setdefault(key, place)


def _check_folder(folder: Path) -> None:
    """UserError where a local folder plainly holds no model that could be loaded."""
    read_json(folder / "config.json", WHAT)
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{WHAT}: {folder} has no .safetensors file: download the checkpoint again, or convert it")


def _load(options: InProcessOptions, device: torch.device, dtype: torch.dtype) -> tuple[Any, bool, Any]:
    """The model, whether it takes images, and its processor or tokenizer. Only safetensors are read, and no code."""
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
    )
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    name, found = options.checkpoint, where(options.checkpoint, options.revision)
    hub = logging.getLogger("transformers")
    before = hub.level
    hub.setLevel(logging.ERROR)  # what is missing is our error below, not a table of theirs
    try:
        config = AutoConfig.from_pretrained(name, **found)
        sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        reader: Any = (AutoProcessor if sees else AutoTokenizer).from_pretrained(name, **found)
        loaded: Any = (AutoModelForImageTextToText if sees else AutoModelForCausalLM).from_pretrained(
            name,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **found,
            **_quantized(options, device, dtype),
        )
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, ImportError) as error:
        line = next((text.strip() for text in str(error).splitlines() if text.strip()), type(error).__name__)
        raise UserError(f"{WHAT}: {name} cannot be loaded: {line[:300]}") from None
    finally:
        hub.setLevel(before)
    model, told = loaded
    if missing := sorted(told["missing_keys"]):
        raise UserError(f"{WHAT}: {name} lacks {len(missing)} weights, first {missing[0]!r}: download it again")
    if reader.chat_template is None:
        raise UserError(f"{WHAT}: {name} has no chat template: take an instruct model")
    if options.quantize == "none":
        model = model.to(device)
    return model.eval().requires_grad_(False), sees, reader


def _quantized(options: InProcessOptions, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `from_pretrained`."""
    if options.quantize == "none":
        return {}
    from transformers import BitsAndBytesConfig

    bits: dict[str, dict[str, Any]] = {
        "8bit": {"load_in_8bit": True},
        "4bit": {"load_in_4bit": True, "bnb_4bit_compute_dtype": dtype},
    }
    config = BitsAndBytesConfig(**bits[options.quantize])  # type: ignore[no-untyped-call]
    return {"quantization_config": config, "device_map": str(device)}
