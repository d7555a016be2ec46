# Needs make and Python 3.11 or newer; everything else is installed into .venv. ARGS is passed on:
#   make test ARGS="-k latents"
PYTHON ?= python3
# The tested version of torch, installed before anything else can choose another.
TORCH ?= $(shell grep '^torch==' constraints.txt)
ARGS ?=

.PHONY: demo space test test-distributed bench bench-smoke lint clean

demo: .venv/.installed
	.venv/bin/c3 demo $(ARGS)

# A page to look at, on http://127.0.0.1:7860.
space: .venv/.installed
	.venv/bin/python space/app.py

test: .venv/.installed
	.venv/bin/python -m pytest -n auto --dist loadfile $(ARGS)

# DeepSpeed is only needed for training on several devices, so it is installed here and not before.
test-distributed: .venv/.installed-deepspeed
	.venv/bin/python -m pytest -m distributed $(ARGS)

# About seventeen minutes on two cores; nothing else should run meanwhile.
bench: .venv/.installed
	.venv/bin/c3 bench $(ARGS)

# All benchmarks with a tiny model: that they run, and that outputs agree. No time is judged.
bench-smoke: .venv/.installed
	.venv/bin/c3 bench --smoke $(ARGS)
	.venv/bin/c3 bench profile --smoke

lint: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.venv/.installed: setup.cfg pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(TORCH)
	.venv/bin/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@

.venv/.installed-deepspeed: .venv/.installed
	.venv/bin/python -m pip install -c constraints.txt -e ".[dev,deepspeed]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
