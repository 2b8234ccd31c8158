"""Files of tensors: the same content, the same bytes."""

import torch
from safetensors.torch import load, save

from matrix_train.fit.safe import to_bytes

TENSORS = {"b": torch.arange(6.0).view(2, 3).T, "a": torch.ones(3, dtype=torch.int64)}
METADATA = {f"key {i} «é»": f'"value" {i}' for i in range(12)}


def test_the_bytes_follow_from_the_content() -> None:
    assert len({to_bytes(TENSORS, METADATA) for _ in range(10)}) == 1
    assert to_bytes(TENSORS, METADATA) == to_bytes(dict(reversed(TENSORS.items())), dict(reversed(METADATA.items())))


def test_the_library_reads_what_it_would_have_written() -> None:
    for metadata in (METADATA, {}):
        data = to_bytes(TENSORS, metadata)
        back = load(data)
        assert back.keys() == TENSORS.keys()
        assert all(torch.equal(back[name], value) for name, value in TENSORS.items())
        plain = {name: value.contiguous() for name, value in TENSORS.items()}
        assert abs(len(data) - len(save(plain, metadata=metadata or None))) < 64
