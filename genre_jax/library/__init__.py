"""A music library: a database of analyzed files, their tags, similar songs and playlists."""
