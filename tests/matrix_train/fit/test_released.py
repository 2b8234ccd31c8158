"""The authors' way, `configs/as_released.yaml`, on the tiny model: tags, their scale, BCE alone, w(t)."""

from pathlib import Path

import pytest
from rich.console import Console

from matrix_train.config import config_value, load_config
from matrix_train.errors import UserError
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.precompute import cache_key
from matrix_train.fit.run import Run
from tests.matrix_train.fitting import TINY, metrics, small_config

OURS = {"sga", "spa", "sga_blocks", "spa_blocks", "supervise_stride", "channels"}
"""Of `align`, what belongs to the tiny model."""


def test_it_trains_on_tags_alone_from_a_cache_of_its_own(dataset: Path, tmp_path: Path) -> None:
    released = load_config(TINY.with_name("as_released.yaml"), [])
    align = [f"align.{name}={config_value(value)}" for name, value in released.align if name not in OURS]
    config = small_config(
        dataset, tmp_path / "run", *align, f"data.prompt={released.data.prompt}", f"train.cache={tmp_path / 'cache'}",
        f"train.caption_dropout={released.train.caption_dropout}", "train.steps=2",
    )  # fmt: skip
    run = Run(config, make_accelerator(config), Console(quiet=True)).start(resume=False, fill=True)
    with run._open_stream("train") as stream:
        batch = next(stream)
    tokens = [run.parts.encoders.tokenizer.convert_ids_to_tokens(ids) for ids in batch.input_ids.tolist()]
    weights = batch.roles.text.dense(batch.roles.text_length)
    for sample, acts in enumerate(batch.interactions):
        for k, act in enumerate(acts):
            roles = weights[sample, 3 * k : 3 * k + 3]
            said = [[tokens[sample][i] for i in role.nonzero().flatten().tolist()] for role in roles]
            assert said == [[f"<{act.subject}>"], [], [f"<{act.object}>"]]
    run.train()
    for line in metrics(tmp_path / "run"):
        assert line["sga.weighted"] == line["sga.bce.weighted"] > 0 == line["sga.verb"]
        assert line["spa.weighted"] == line["spa.bce.weighted"] > 0
        # w(t) of the two samples, not 1.
        assert line["sga.weighted"] != pytest.approx(config.align.sga * line["sga"], rel=0.01)
    plain = config.model_copy(update={"data": config.data.model_copy(update={"prompt": "plain"})})
    with pytest.raises(UserError, match="is stale: prompt was tagged, is plain"):
        LatentCache(tmp_path / "cache", cache_key(plain))
