"""A model of the sam2 package from one of its own configurations, or from a YAML file that is checked first.

Hydra makes whatever class a configuration names, so a file from outside may name only the classes that the package's
own configurations do. Nothing is composed by name: Hydra's global state, which importing `sam2` switches on for the
whole process, is left as it was found.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tasks.engines.sam2.options import DEFAULT_CONFIG
from tasks.errors import UserError

NAMES = ("sam2.1_hiera_t", "sam2.1_hiera_s", "sam2.1_hiera_b+", "sam2.1_hiera_l")

FORCED = {
    "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
    # What the package itself sets for videos, but for the filling of small holes, which needs its CUDA extension.
    "binarize_mask_from_pts_for_mem_enc": True,
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
    "fill_hole_area": 0,
    # Otherwise IDs that are tracked together would change each other.
    "non_overlap_masks": False,
    "non_overlap_masks_for_mem_enc": False,
    # Compiling is done by `original.compile_parts`, or not at all.
    "compile_image_encoder": False,
}
"""Set in every model, whatever its configuration says."""

NEEDED = {
    "use_obj_ptrs_in_encoder": True,
    "add_tpos_enc_to_obj_ptrs": True,
    "use_high_res_features_in_sam": True,
    "use_mask_input_as_output_without_sam": True,
    "memory_temporal_stride_for_eval": 1,
}
"""What `original` takes for granted. All of SAM 2.1 is so."""


def read_config(config: str | None, image_size: int | None) -> dict[str, Any]:
    """The `model` section of a configuration, with what we force and the image size put in. UserError says why not."""
    name = config or DEFAULT_CONFIG
    model = _packaged(name) if name in NAMES else _foreign(Path(name))
    if image_size is not None:
        model["image_size"] = image_size
    return model | FORCED


def build(model: dict[str, Any]) -> Any:
    """The network of a configuration, with random weights, for evaluation, on the CPU. For one thread at a time."""
    import_quietly()
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        network = instantiate(model)
    except (InstantiationException, AssertionError, TypeError, ValueError) as error:
        raise UserError(f"sam2: the configuration makes no model: {_line(error)}") from None
    for key, value in NEEDED.items():
        if getattr(network, key) != value:
            raise UserError(f"sam2: the configuration has {key}: {getattr(network, key)}; SAM 2.1 has {value}")
    return network.eval()


def _line(error: Exception) -> str:
    """Hydra's errors have the cause on the second line."""
    return " ".join(str(error).splitlines()[:2])[:300]


def import_quietly() -> None:
    """Import `sam2` without what its import does to others: Hydra stays as it was. UserError where it is missing."""
    try:
        from hydra.core.global_hydra import GlobalHydra
    except ModuleNotFoundError:
        raise _missing() from None
    was_on = GlobalHydra.instance().is_initialized()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            import sam2.sam2_video_predictor  # noqa: F401
    except ModuleNotFoundError:
        raise _missing() from None
    finally:
        if not was_on:
            GlobalHydra.instance().clear()


def _missing() -> UserError:
    return UserError("sam2: the package sam2 is not installed: install with the extra `models`")


def _packaged(name: str) -> dict[str, Any]:
    import_quietly()
    import sam2

    file = Path(sam2.__path__[0]) / "configs" / "sam2.1" / f"{name}.yaml"
    found: dict[str, Any] = _mapping(file)["model"]
    return found


def _mapping(file: Path) -> dict[str, Any]:
    """By OmegaConf, which reads 1e-6 as a number. Interpolations stay the text they are."""
    from omegaconf import OmegaConf

    found = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    if not isinstance(found, dict):
        raise ValueError("no mapping")
    return {str(k): v for k, v in found.items()}


def _foreign(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(f"sam2: config {str(file)!r} is neither one of {', '.join(NAMES)} nor a YAML file")
    from omegaconf.errors import OmegaConfBaseException

    try:
        model = _mapping(file).get("model")
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError) as error:
        raise UserError(f"sam2: config {file} is no YAML of settings: {str(error).splitlines()[0][:200]}") from None
    if not isinstance(model, dict):
        raise UserError(f"sam2: config {file} has no section `model`")
    known = {v for _, key, v in _leaves(_packaged(DEFAULT_CONFIG)) if key == "_target_"}
    for path, key, value in _leaves(model):
        if key == "_target_" and value not in known:
            raise UserError(f"sam2: config {file}: {path} names {value!r}, which is no part of SAM2: refused")
        if (key.startswith("_") and key != "_target_") or (isinstance(value, str) and "${" in value):
            raise UserError(f"sam2: config {file}: {path}: only plain settings are allowed")
    return model


def _leaves(node: Any, path: str = "model", key: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, last key, value) of everything that is no mapping or list."""
    if isinstance(node, dict):
        for k, v in node.items():
            yield from _leaves(v, f"{path}.{k}", str(k))
    elif isinstance(node, list):
        for v in node:
            yield from _leaves(v, path, key)
    else:
        yield path, key, node
