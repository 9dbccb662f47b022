"""Source: GTZAN (Tzanetakis and Cook, 2002) as a folder, an archive or tensorflow-datasets."""

from genre_jax.data.sources.gtzan.folder import open_gtzan

__all__ = ["open_gtzan"]
