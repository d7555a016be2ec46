"""What trains C3 models; `train_hf.py` runs it from a recipe."""

import c3.auto_c3  # noqa: F401  so that transformers knows C3 checkpoints and asks for no trust in remote code
