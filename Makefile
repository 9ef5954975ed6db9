# Two commands do everything from a fresh clone: `make study` and `make test`.
# The newest Python that is found and that the dependencies support.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The versions that were tested, each file with its SHA-256; then this package, which needs no more.
INSTALL = $(PIP) --require-hashes --requirement requirements/$(1).lock \
	&& $(PIP) --no-deps --no-build-isolation --editable .
# For Python 3.11 and later on every system; versions in the file are kept if they still fit.
# setuptools builds this package. backports-strenum 1.3 refuses Python 3.11, which uv does not see.
LOCK = echo 'setuptools>=69' | $(BIN)/uv --quiet pip compile - setup.cfg --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command 'make lock'

.PHONY: study test lint mutate lock audit clean
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

lock: $(VENV)/.lock
	$(LOCK) --extra synthetic --extra test --extra export --extra notebook --extra tensorboard \
	--constraint requirements/constraints.txt --output-file requirements/test.lock
	$(LOCK) --extra synthetic --constraint requirements/test.lock --output-file requirements/study.lock
	$(LOCK) --extra lint --constraint requirements/test.lock --output-file requirements/lint.lock

# Asks PyPI for the known vulnerabilities of every locked package; fails if it cannot be asked.
audit: $(VENV)/.lock
	for lock in study test lint; do \
	$(BIN)/uv tool run pip-audit --strict --require-hashes --disable-pip --requirement requirements/$$lock.lock \
	|| exit 1; done

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'error: no Python 3.11, 3.12 or 3.13 found: install one, or make PYTHON=/path/to/python'; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp is older than changed requirements, so a second run installs nothing.
$(VENV)/.study $(VENV)/.test $(VENV)/.lint: $(VENV)/.%: requirements/%.lock setup.cfg pyproject.toml | $(BIN)/python
	$(call INSTALL,$*)
	@touch $@ $(if $(findstring test,$*),$(VENV)/.study)

$(VENV)/.mutate: $(VENV)/.test
	$(PIP) --editable '.[test,mutate]'
	@touch $@

$(VENV)/.lock: | $(BIN)/python
	$(PIP) 'uv>=0.9,<1'
	@touch $@
