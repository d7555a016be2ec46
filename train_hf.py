"""Trains a C3 model from a recipe: `python train_hf.py configs/c3_laptop.yaml`, see training/command.py."""

import sys

try:
    from c3.training.command import main
except ModuleNotFoundError as error:
    # From the checkout's folder, so that `.` is right.
    sys.exit(f"train_hf.py: {error}. Install c3 with what training needs: pip install -e .[train]")

if __name__ == "__main__":
    main()
