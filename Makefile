# Everything a newcomer needs: `make demo`, `make test`. Wants Python 3.11+ and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test chaos lint clean

help:
	@echo "make setup   the virtual environment in $(VENV), everything pinned and installed"
	@echo "make demo    a search over scikit-learn's digits, with its page (about two minutes)"
	@echo "make test    the whole test suite"
	@echo "make chaos   kills, cuts and wipes by chance under two searches, and a checker (five minutes)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make clean   remove what the others made"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Trialyard needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib >/dev/null 2>&1 || true  # pip would use one core
	@touch $@

demo: setup
	$(BIN)/trialyard run examples/digits.yaml

# Most tests wait for processes of their own: three at a time keep two cores busy. A file's tests share servers, so they stay
# together, and the long ones, which come first, begin first.
test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Faults by chance for CHAOS_MINUTES, with the figures of docs/reliability.md; SEED=n repeats a campaign's choices.
SEED ?= $(shell $(PYTHON) -c 'import random; print(random.randrange(10**6))')
CHAOS_MINUTES ?= 5
chaos: setup
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(CHAOS_MINUTES) --trials 400

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
