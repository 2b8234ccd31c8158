"""What tests of the trainer share: a small T5 tokenizer of the released class, and a data set of drawn clips."""

import itertools
from pathlib import Path

import pytest
import sentencepiece
from transformers import PreTrainedTokenizerFast, T5TokenizerFast

from matrix_train.fit.allocator import keep_freed_memory
from tasks.dataset.split import split_of
from tasks.outcome import Case
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import make_case, make_dataset
from tests.matrix_train.data.shards import FRAMES, HEIGHT, WIDTH

keep_freed_memory()  # as `matrix_train fit` does; these tests take half the time

_CORPUS = [
    "A man in a blue shirt is lifting up a red box, while the woman's dog runs to the left.",
    "Two robots push the cart slowly toward it. The man's cup falls; another man picks the cup up.",
    "The person on the right hands a small ball to the other person, and they both laugh.",
    "He's using a knife to cut the cucumber on the wooden board in the kitchen.",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N O P Q R S T U V W X Y Z é",
    "0 1 2 3 4 5 6 7 8 9 ⁄ “ ” ( ) ! : ; , . ' - lifting up a red box, picks up the cup, kg No",
]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    """As released T5 folders hold it: `spiece.model` with T5's special ids and its NFKC normaliser."""
    folder: Path = tmp_path_factory.mktemp("t5")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CORPUS * 4), model_prefix=str(folder / "spiece"), vocab_size=200, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc", hard_vocab_limit=False,
        character_coverage=1.0, num_threads=1, minloglevel=2,
    )  # fmt: skip
    loaded = T5TokenizerFast.from_pretrained(folder)
    assert type(loaded).__name__.startswith("T5Tokenizer")
    assert loaded.is_fast
    return loaded


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips to train on and three held out, with one to three interactions each, in shards of three."""
    root = tmp_path_factory.mktemp("shards")
    store = Folder(str(root / "work"))
    settings = ShardSettings(max_samples=3, val_share=0.25)
    chosen: dict[str, list[Case]] = {"train": [], "val": []}
    for seed in itertools.count():
        # The split follows from the video: take what falls where it is wanted.
        things = 1 + len(chosen["train"]) % 3
        case = make_case(store, seed=seed, things=things, frames=FRAMES, height=HEIGHT, width=WIDTH)
        split = split_of(case.clip.source.source_id, settings.val_share)
        if len(chosen[split]) < {"train": 9, "val": 3}[split]:
            chosen[split].append(case)
        if sum(map(len, chosen.values())) == 12:
            break
    make_dataset(root, [*chosen["train"], *chosen["val"]], settings)
    return root / "dataset"
