"""The metrics as a folder that `evaluate.load` reads."""
