# Two commands do everything on a machine with Python 3.11 or newer: `make demo` and `make test`.
# Each makes its own virtual environment in .venv and installs what it needs there, once.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
PYTEST_ARGS ?=
# Two processes: the suite also starts its own pools, and CI machines have two cores.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs-check check-python clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(VENV)/.installed  ## Make a CT series, do everything with it once, and say what happened
	@$(RUN) -m fastdicom demo demo-output

test: $(VENV)/.installed-test  ## Run the whole test suite
	$(RUN) -m pytest -n $(JOBS) --dist loadgroup $(PYTEST_ARGS)

lint: $(VENV)/.installed-test  ## Style of the code
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(VENV)/.installed-test  ## Types of the code
	$(RUN) -m mypy

docs-check: $(VENV)/.installed-test  ## Run the code of the documentation, and check its links
	$(RUN) -m pytest tests/test_docs.py

clean:  ## Remove the virtual environment and what the demo made
	rm -rf $(VENV) demo-output

# The stamps make sure that nothing is installed twice: only a change of pyproject.toml does it again.
$(VENV)/.installed: pyproject.toml | check-python
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | check-python
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $(VENV)/.installed $@

check-python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no '$(PYTHON)' here. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "fastdicom needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
