"""Training: what `train_hf.py` is made of."""
