# vizdash. `make run` sets up and opens the dashboard; `make test` sets up and runs every test.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.vizdash-stamp
RUN := vizdash tests bench
RUNS := 50
STATES := 40
CLUSTERS := 60
CASES := 25
INPUTS := 20000
SECONDS := 0

.PHONY: help man run test venv system system-tests lint types imports unit steady states fuzz ssh-configs lab capacity fresh bench pictures clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

run: venv ## set up, then the dashboard (on this machine alone when there is no Slurm)
	@sinfo --version >/dev/null 2>&1 || scripts/install-system || \
	  read -rp 'vizdash: no session starts on this machine until then; Enter goes on without ' _
	@$(BIN)/vizdash

test: venv system-tests ## set up, then every test, the real cluster included where it can run
	@scripts/run-tests

venv: $(STAMP) ## the Python environment

$(STAMP): pyproject.toml scripts/make-venv
	@scripts/make-venv $(VENV)
	@touch $@

system: ## what sessions on this machine need (Xvnc, websockify, noVNC, a window manager)
	@scripts/install-system

system-tests:
	@scripts/install-system --tests

man: venv ## the man pages, into build/man/man1
	$(BIN)/python -m vizdash.cli.manual build/man/man1

lint: venv ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv ## strict types
	$(BIN)/mypy

imports: venv ## the layers
	$(BIN)/lint-imports

unit: venv ## the fast tests alone
	$(BIN)/pytest tests/unit tests/ui tests/fuzz

steady: venv ## the UI tests RUNS times in a row (50), up to the first run that fails
	@for n in $$(seq $(RUNS)); do echo "run $$n of $(RUNS)"; \
	  $(BIN)/pytest -q -n 4 --dist worksteal tests/ui || exit 1; done

states: venv system-tests ## sessions live and end in any order of events: STATES runs (40), some minutes
	VIZDASH_STATES=$(STATES) $(BIN)/pytest tests/integration/test_states.py

fuzz: venv ## bad input to every reader: INPUTS for each (20,000), or with atheris for SECONDS each
	@if [ $(SECONDS) = 0 ]; then $(BIN)/python -m tests.fuzz --cases $(INPUTS); else \
	  $(BIN)/python -m pip install -q atheris && $(BIN)/python -m tests.fuzz --guided $(SECONDS); fi

ssh-configs: venv ## the reading of ~/.ssh/config without ssh(1) against ssh -G, 10,000 files
	VIZDASH_SSH_CONFIGS=10000 $(BIN)/pytest -q -n 2 --timeout 1200 tests/unit/transport/test_ssh_config_file.py

lab: venv system-tests ## a real cluster on this machine, and vizdash on its login host (needs root)
	@$(BIN)/python -m tests.lab up

capacity: venv system-tests ## what fits against Slurm's own word: CLUSTERS random clusters (60), CASES on each (25)
	@VIZDASH_CAPACITY_CLUSTERS=$(CLUSTERS) VIZDASH_CAPACITY_CASES=$(CASES) \
	  $(BIN)/pytest tests/lab/test_capacity.py

fresh: venv system-tests ## prove `make run` on a machine with nothing installed (root, some minutes)
	@$(BIN)/python -m tests.fresh

bench: venv system-tests ## measurements, as ratios
	@$(BIN)/python -m bench

pictures: venv ## the pictures of README and docs, from the real program
	@$(BIN)/python -m tests.ui.pictures docs

clean: ## what the build made in this folder (the lab's cache: python -m tests.lab clean)
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
