"""Who spoke when, live and offline, by name."""

__version__ = "0.1.0"
