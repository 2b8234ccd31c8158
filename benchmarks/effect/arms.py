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


WITHOUT_SGA: Settings = {"align.sga": 0}
WITHOUT_SPA: Settings = {"align.spa": 0}


def paper_arms() -> dict[str, Settings]:
    """Settings of the paper's arms (its table 2), "LoRA alone" first, by the recipe."""
    main = recipe()
    return {
        "LoRA alone": main | WITHOUT_SGA | WITHOUT_SPA,
        "+ SPA": main | WITHOUT_SGA,
        "+ SGA": main | WITHOUT_SPA,
        "+ SGA on t2v": main | WITHOUT_SPA | {"align.sga_direction": "t2v"},
        "+ both": main,
    }


def arms() -> dict[str, Settings]:
    """These and more. `strong` is the tiny configuration's own alignment, LoRA on all blocks."""
    return paper_arms() | {
        "+ both, logits": recipe() | {"align.attention_map": "logits"},
        "strong, LoRA alone": WITHOUT_SGA | WITHOUT_SPA,
        "strong, + both": {},
    }


ALONE = {"strong, + both": "strong, LoRA alone"}
"""What an arm is held against, where it is not "LoRA alone": the same LoRA without the losses."""
