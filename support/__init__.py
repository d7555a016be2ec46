"""What commands, training, evaluation and benchmarks share; the model itself needs nothing of it."""
