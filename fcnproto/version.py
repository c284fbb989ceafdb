"""The version, for what is written to say who wrote it."""

__version__ = "0.1.0"
