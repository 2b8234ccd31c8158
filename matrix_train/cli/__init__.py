"""`matrix_train`: the trainer's command line."""

from matrix_train.cli.app import main

__all__ = ["main"]
