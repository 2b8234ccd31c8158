"""Fixtures for all stages."""

from tests.buckets import bucket, moto

__all__ = ["bucket", "moto"]
