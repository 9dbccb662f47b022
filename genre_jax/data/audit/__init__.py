"""Find duplicates, damage and leaking groups in a collection."""
