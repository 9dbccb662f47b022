"""Train networks: setup, losses, optimizer, augmentation, steps, loop and checkpoints."""
