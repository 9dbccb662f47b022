"""From audio files to log-mel, labels, groups, splits and batches."""
