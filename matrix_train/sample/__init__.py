"""Videos from a picture, an ID map and a prompt (`docs/training/sample.md`)."""
