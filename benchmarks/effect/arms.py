"""The arms that are compared, each as settings of `matrix_train fit`."""

from pathlib import Path

from matrix_train.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
TINY, RECIPE = CONFIGS / "tiny.yaml", CONFIGS / "cogvideox_5b_i2v.yaml"

OWN = {"sga_blocks", "spa_blocks", "channels"}
"""Of `align`, what belongs to the size of the model."""

Settings = dict[str, object]


def recipe() -> Settings:
    """Everything that the 5B recipe says of alignment, and LoRA where it has it: on the blocks that are read."""
    align = load_config(RECIPE, []).align.model_dump()
    tapped = load_config(TINY, []).align
    blocks = sorted({*tapped.sga_blocks, *tapped.spa_blocks})
    said = {f"align.{name}": "null" if value is None else value for name, value in align.items() if name not in OWN}
    return said | {"lora.blocks": blocks}


def arms() -> dict[str, Settings]:
    """Settings by arm, "LoRA alone" first. `strong` is the tiny configuration's own alignment, LoRA on all blocks."""
    main = recipe()
    without_sga, without_spa = {"align.sga": 0}, {"align.spa": 0}
    return {
        "LoRA alone": main | without_sga | without_spa,
        "+ SPA": main | without_sga,
        "+ SGA": main | without_spa,
        "+ SGA on t2v": main | without_spa | {"align.sga_direction": "t2v"},
        "+ both": main,
        "+ both, logits": main | {"align.attention_map": "logits"},
        "strong, LoRA alone": without_sga | without_spa,
        "strong, + both": {},
    }


ALONE = {"strong, + both": "strong, LoRA alone"}
"""What an arm is held against, where it is not "LoRA alone": the same LoRA without the losses."""
