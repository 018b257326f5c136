# make serve   the dashboard on http://localhost:5006
# make lab     the notebooks in JupyterLab
# make test    everything that must hold: ruff, mypy, pytest
# make soak    simulated crashes until Ctrl-C, with what they found
# make bench   what the simulation costs, in one run
# make pictures   every place of the dashboard in both themes at three widths, into pictures/

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: serve lab test lint soak bench pictures clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "hustle_sim needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.app

serve: $(VENV)/.app
	$(BIN)/hustle-sim serve

$(VENV)/.lab: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[lab]'
	@touch $@ $(VENV)/.app

lab: $(VENV)/.lab
	$(BIN)/jupyter lab notebooks

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

soak: $(VENV)/.app
	$(BIN)/hustle-sim soak

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

pictures: $(VENV)/.test
	$(BIN)/python tests/pictures.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
