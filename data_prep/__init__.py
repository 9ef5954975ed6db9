"""From recordings to stores of log-Mel features; knows nothing of networks or training."""
