"""Questions about texts, made from a seed alone: to train on, and to measure with."""
