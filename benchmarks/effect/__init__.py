"""What SGA and SPA do to attention, measured on the tiny model: `python -m benchmarks.effect --help`."""
