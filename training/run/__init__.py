"""A run: stages, trainer, checkpoints and their resumption."""
