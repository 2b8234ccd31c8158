"""The models behind the stages. `base` has the protocols; nothing outside this package loads a model."""
