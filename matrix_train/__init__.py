"""Trains interaction-aware LoRAs on the shards. Imports `schemas`, never `tasks` or `flows`."""
