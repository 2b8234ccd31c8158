"""Judges: by the truth, by tracks alone, by a vision-language model."""
