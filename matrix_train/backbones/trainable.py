"""What training changes, by name."""

from collections.abc import Mapping

from torch import nn

from matrix_train.backbones.base import Backbone


def trainable_parameters(backbone: Backbone, decoders: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Exactly {LoRA, input projection, decoders}, by name: what the optimiser gets.

    RuntimeError where anything else of the backbone would get a gradient, or one of these would not.
    """
    wanted = backbone.trainable()
    enabled = {name for name, parameter in backbone.model.named_parameters() if parameter.requires_grad}
    if enabled != wanted.keys():
        raise RuntimeError(f"trainable by mistake or frozen by mistake: {sorted(enabled ^ wanted.keys())}")
    parameters = {f"backbone.{name}": parameter for name, parameter in wanted.items()}
    for family, decoder in decoders.items():
        for name, parameter in decoder.named_parameters():
            if not parameter.requires_grad:
                raise RuntimeError(f"frozen by mistake: the {family} decoder's {name}")
            parameters[f"decoders.{family}.{name}"] = parameter
    return parameters


def kind_of(name: str) -> str:
    """What a trainable parameter is, in words."""
    return "decoders" if name.startswith("decoders.") else "LoRA" if ".lora_" in name else "input projection"
