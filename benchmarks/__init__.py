"""Each module prints one line for people and one JSON object: `python -m benchmarks.NAME`. Results: docs/log.md."""
