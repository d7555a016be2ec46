"""The version, in one place: setup.cfg, `c3.__version__`, `c3 --version` and the provenance of latents read it."""

VERSION = "0.2.0"
