"""What tiny pipelines of any backbone have in common: a tokenizer of the data set's own captions, a folder that appears
whole."""

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sentencepiece
import torch
from transformers import PreTrainedTokenizerFast, T5Tokenizer

VOCABULARY = 400
TEXT_WIDTH = 48
PIPELINE = "pipeline"


@contextmanager
def making(folder: Path, seed: int) -> Iterator[Path]:
    """A scratch folder, whose `PIPELINE` becomes `folder` at the end; random weights are of the seed meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name, torch.random.fork_rng():
        torch.manual_seed(seed)
        yield Path(name)
        # Rename is atomic; a folder made meanwhile by another process of the same run is as good.
        if not folder.exists():
            shutil.move(Path(name) / PIPELINE, folder)


def make_tokenizer(scratch: Path, captions: Iterable[str]) -> PreTrainedTokenizerFast:
    """A SentencePiece model of the captions, with T5's special tokens."""
    sentences = sorted(set(captions))
    # SentencePiece takes as candidates what two different words share. A word with two endings is one: whole words are
    # tokens then, as common words are to T5, and a role's mean is not over scraps that every phrase has.
    words = {word for sentence in sentences for word in re.findall(r"\w+", sentence)}
    endings = [f"{word}, {word}." for word in sorted(words)]
    # Characters last: every caption can be spelled, and small data sets reach the vocabulary's minimum.
    letters = " ".join(chr(code) for code in range(33, 127))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*sentences, *endings, letters]), model_prefix=str(scratch / "spiece"),
        vocab_size=VOCABULARY, hard_vocab_limit=False, model_type="unigram", normalization_rule_name="nmt_nfkc",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0, num_threads=1, minloglevel=2,
    )  # fmt: skip
    tokenizer: PreTrainedTokenizerFast = T5Tokenizer.from_pretrained(scratch)
    return tokenizer
