"""The training run (`docs/training/fit.md`)."""
