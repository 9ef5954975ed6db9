# Two commands do everything from a fresh clone: `make study` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: study test clean
study: $(VENV)/.study
	$(BIN)/python -m m3net_jax.main --flagfile=launch/quick.flags

test: $(VENV)/.test
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp is made anew when the requirements change, so the second run installs nothing.
$(VENV)/.study: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,export]'
	@touch $@ $(VENV)/.study
