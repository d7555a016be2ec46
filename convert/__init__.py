"""Checkpoints in the layout of the authors of C3, to ours and back."""
