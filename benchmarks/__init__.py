"""Measurements of speed and memory, each as a ratio to a stated baseline within one run."""
