"""MATRIX in miniature: `python -m benchmarks.miniature --help`, docs/training/miniature.md."""
