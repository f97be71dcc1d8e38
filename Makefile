# Each target sets up everything it needs, on a machine with Python 3.11+ and this Makefile's `make`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test soak clean

demo: $(INSTALLED)  ## Train every estimator on the 6×6 board and draw the comparison, some minutes on two cores.
	rm -rf runs/demo
	$(BIN)/python -m experiments.compare --preset=quick --logdir=runs/demo

test: $(INSTALLED)  ## Lint, check the types, and run the tests.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

soak: $(INSTALLED)  ## Kill training at random moments, and spoil its files, again and again.
	$(BIN)/python -m pytest -m soak

clean:  ## Remove the virtual environment and the demo's run.
	rm -rf $(VENV) runs/demo

$(INSTALLED): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@
