"""One file per experiment: question, command, cost, result, and the config that answers it."""
