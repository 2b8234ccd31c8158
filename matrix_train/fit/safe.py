"""safetensors whose bytes follow from its content: the library writes the metadata's keys in any order."""

import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor


def to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A whole file. Tensors may lie on any device, in any layout.

    The format: the header's length in eight bytes, the header as JSON padded to a multiple of eight, the tensors.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    data = save(plain, metadata=dict(metadata))
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[begin:]
