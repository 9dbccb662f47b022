"""Train a network: setup, losses, optimizer, steps, loop and checkpoints."""
