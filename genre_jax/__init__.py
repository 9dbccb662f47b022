"""Music genre classification in JAX, with a network that is split in time and frequency."""

__version__ = "0.1.0"
