"""From audio on disk to log-mel, labels, groups and splits: the first room of the flow."""
