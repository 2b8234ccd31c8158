"""What a run leaves for others (`docs/training/export.md`)."""
