# make demo   venv, install, then a synthetic clip from a real one; prints where the pictures are
# make test   the same venv, ruff, mypy, and all tests; ARGS goes to pytest, as in make test ARGS="-k warp"
# make coverage  the tests again, and which lines and branches of the package none of them reaches; under 90 % is an error
# make docs   the same venv, and the documentation into site/; read site/index.html
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= auto

.PHONY: demo test coverage docs clean

demo: $(VENV)/.installed
	$(BIN)/echokdm synth --demo --ef 45

# Bytecode is kept, also where the environment says otherwise: tests start a hundred processes, each of which would compile the package.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

coverage: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal --cov=echokdm $(ARGS)

# MkDocs' theme prints an advertisement against MkDocs 2 unless told not to.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.installed-docs
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html; with the search: $(BIN)/python -m http.server -d site"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "echokdm needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

# The stamps make the second run quick: pip runs again only where the requirements have changed.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), which takes a few minutes the first time ..."
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), which takes a few minutes the first time ..."
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), which takes a few minutes the first time ..."
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage
