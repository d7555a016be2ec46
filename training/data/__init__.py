"""The texts that are trained on: sources, token ids, windows and batches."""
