"""Speeds, as ratios against a hand-written asyncpg loop in the same run. ``python -m benchmarks --help``."""
