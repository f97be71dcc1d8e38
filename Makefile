# Each target sets up everything it needs, on a machine with Python 3.11+ and this Makefile's `make`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

BAD := --discount=0.3 --lambda=0.5 --entropy_cost=0.1
GOOD := --baseline=discount:0.997,lambda:0.95,entropy_cost:0.003
DEMO := $(BAD) $(GOOD) --num_env_steps=512000 --outer_discount=0.999 --outer_lambda=1 \
	--meta_learning_rate=0.3 --meta_learning_rate_halving=100

# However long they take, what they have by then is on disk, and but for the benchmark they go on from it.
ATMOST := timeout --signal=INT

.PHONY: demo test soak accelerator clean

demo: $(INSTALLED)  ## Let agents with bad hyperparameters tune themselves, beside fixed bad and good ones; some minutes on two cores.
	rm -rf runs/demo
	$(BIN)/python -m experiments.compare --preset=quick --logdir=runs/demo $(DEMO)

test: $(INSTALLED)  ## Lint, check the types, and run the tests.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

soak: $(INSTALLED)  ## Kill training at random moments, and spoil its files, again and again.
	$(BIN)/python -m pytest -m soak

accelerator: $(INSTALLED)  ## Take all figures that need a GPU, in 25 minutes at most, installation apart; runs/accelerator has them.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench,cuda]'
	rm -rf runs/accelerator/benchmark
	-$(ATMOST) 10m $(BIN)/python -m experiments.benchmark --scale=accelerator --logdir=runs/accelerator/benchmark
	-$(ATMOST) 8m $(BIN)/python -m experiments.variance --preset=paper --num_samples=1024 --logdir=runs/accelerator/variance
	-$(ATMOST) 7m $(BIN)/python -m experiments.compare --preset=paper --num_env_steps=5120000 --logdir=runs/accelerator/compare

clean:  ## Remove the virtual environment and the demo's run.
	rm -rf $(VENV) runs/demo

$(INSTALLED): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@
