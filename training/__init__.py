"""What trains C3 models; `train_hf.py` runs it from a recipe."""
