"""The command line: `c3 demo`, `compress`, `expand`, `info`, `generate`, `convert`, `train`, `eval` and `bench`."""
