"""A backbone that the trainer does not know: one folder, made known by `register`."""

from tests.matrix_train.toy.backbone import Toy

__all__ = ["Toy"]
