# Two commands do everything from a fresh clone: `make study` and `make test`.
# The newest Python that is found and that the dependencies support.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.PHONY: study test lint mutate clean
study: $(VENV)/.study
	$(BIN)/python -m m3net_jax.main --flagfile=launch/quick.flags

test: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutate: $(VENV)/.mutate
	$(BIN)/python -m tests.mutate

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'error: no Python 3.11, 3.12 or 3.13 found: install one, or make PYTHON=/path/to/python'; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp is older than changed requirements, so a second run installs nothing.
$(VENV)/.study: setup.cfg pyproject.toml | $(BIN)/python
	$(INSTALL) '.[synthetic]'
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(BIN)/python
	$(INSTALL) '.[synthetic,test,export,notebook,tensorboard]'
	@touch $@ $(VENV)/.study

$(VENV)/.mutate: $(VENV)/.test
	$(INSTALL) '.[test,mutate]'
	@touch $@

$(VENV)/.lint: setup.cfg pyproject.toml | $(BIN)/python
	$(INSTALL) '.[lint]'
	@touch $@
