# Each target sets up everything it needs, on a machine with Python 3.11+ and this Makefile's `make`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

DEMO := --board_size=4 --noaction_mask --num_envs=64 --learning_rate=0.004 --lambda=0.95 --meta_params=discount

# However long they take, what they have by then is on disk, and but for the benchmark they go on from it.
ATMOST := timeout --signal=INT

.PHONY: demo test docs soak accelerator clean

demo: $(INSTALLED)  ## Let agents with a bad discount tune it, beside fixed bad and good ones; some minutes on two cores.
	@echo "Agents learn Snake on 4×4 cells, where 15 fruits fill the board, from a discount too low for it: four that keep"
	@echo "it, four that tune it by mixing(5), and four with a good one. Then a study draws meta-gradients at the low"
	@echo "discount, to tell how noisy mixing and multi-step are. Two cores take two to five minutes for all of it."
	rm -rf runs/demo
	$(BIN)/python -m experiments.compare --estimators=none,mixing --discount=0.8 --baseline=discount:0.98 $(DEMO) --logdir=runs/demo
	$(BIN)/python -m experiments.variance --at_discounts=0.8 --at_env_steps=25600 --num_samples=96 --horizon=5 $(DEMO) --logdir=runs/demo/noise
	$(BIN)/python -m experiments.report --logdir=runs/demo
	@echo "Next: open runs/demo/report.html in a browser: curves, the study and replays of the agents. Watch them live, with"
	@echo "a screen, by $(BIN)/metagrad-play --logdir=runs/demo; or read on in docs/get_started.md."

test: $(INSTALLED)  ## Lint, check the types, and run the tests.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

docs: $(INSTALLED)  ## Build the site and execute its notebooks, without a network.
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/build/html
	@echo "Next: open docs/build/html/index.html."

soak: $(INSTALLED)  ## Kill training at random moments, and spoil its files, again and again.
	$(BIN)/python -m pytest -m soak

accelerator: $(INSTALLED)  ## Take all figures that need a GPU, in 12 minutes at most, installation apart; runs/accelerator has them.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench,cuda]'
	rm -rf runs/accelerator/benchmark
	-$(ATMOST) 5m $(BIN)/python -m experiments.benchmark --suite=train,env,estimators,seeds,memory --scale=accelerator --logdir=runs/accelerator/benchmark
	-$(ATMOST) 4m $(BIN)/python -m experiments.variance --preset=paper --at_env_steps=1280000 --num_samples=256 --logdir=runs/accelerator/variance
	-$(ATMOST) 3m $(BIN)/python -m experiments.compare --preset=paper --estimators=none,single_step,mixing --num_env_steps=1280000 --logdir=runs/accelerator/compare

clean:  ## Remove the virtual environment, the demo's runs and the site.
	rm -rf $(VENV) runs/demo docs/build docs/results

$(INSTALLED): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@
