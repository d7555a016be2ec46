"""The version of the package, in one place: setup.cfg, `c3.__version__`, `c3 --version` and latents' provenance read it."""

VERSION = "0.1.0"
