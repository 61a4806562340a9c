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

.PHONY: help man run test venv system system-tests lint shell types outline imports unit steady states test-faults fuzz ssh-configs lab capacity fresh bench pictures pyz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

run: venv ## set up and open the dashboard (without Slurm, for this machine)
	@sinfo --version >/dev/null 2>&1 || scripts/install-system || \
	  read -rp 'vizdash: sessions cannot start on this machine without them; press Enter to continue ' _
	@$(BIN)/vizdash

test: venv system-tests ## set up and run every test, on a real cluster too where it can run
	@scripts/run-tests

venv: $(STAMP) ## make the Python environment

$(STAMP): pyproject.toml scripts/make-venv
	@scripts/make-venv $(VENV)
	@touch $@

system: ## install what sessions on this machine need (Xvnc, websockify, noVNC, a window manager)
	@scripts/install-system

system-tests:
	@scripts/install-system --tests

man: venv ## write the man pages to build/man/man1
	$(BIN)/python -m vizdash.cli.manual build/man/man1

lint: venv shell ## check the style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

shell: ## check the shell scripts (shellcheck: see make system-tests)
	shellcheck -x -P assets/jobs -S warning assets/*/*.sh scripts/* .ci/run

types: venv ## check the types
	$(BIN)/mypy

outline: ## list every module with a sentence about it
	@python3 -m tests.outline

imports: venv ## check the layers
	$(BIN)/lint-imports

unit: venv ## run the fast tests
	$(BIN)/pytest -n "$${VIZDASH_TEST_WORKERS:-5}" --dist loadfile tests/unit tests/ui tests/fuzz

steady: venv ## run the UI tests RUNS times in a row (50), until one fails
	@for n in $$(seq $(RUNS)); do echo "run $$n of $(RUNS)"; \
	  $(BIN)/pytest -q -n 4 --dist worksteal tests/ui || exit 1; done

states: venv system-tests ## test sessions in random orders of events: STATES runs (40), some minutes
	VIZDASH_STATES=$(STATES) $(BIN)/pytest tests/integration/test_states.py

test-faults: venv system-tests ## make every fault of docs/faults.md on a real cluster (root, half an hour)
	VIZDASH_FAULTS=all $(BIN)/pytest -ra tests/lab/faults

fuzz: venv ## give bad input to every reader: INPUTS for each (20,000), or SECONDS each with atheris
	@if [ $(SECONDS) = 0 ]; then $(BIN)/python -m tests.fuzz --cases $(INPUTS); else \
	  $(BIN)/python -m pip install -q atheris && $(BIN)/python -m tests.fuzz --guided $(SECONDS); fi

ssh-configs: venv ## compare the reader of ~/.ssh/config with ssh -G on 10,000 files
	VIZDASH_SSH_CONFIGS=10000 $(BIN)/pytest -q -n 2 --timeout 3600 tests/unit/transport/test_ssh_config_file.py

lab: venv system-tests ## start a real cluster on this machine and open vizdash on it (needs root)
	@$(BIN)/python -m tests.lab up

capacity: venv system-tests ## compare what fits with Slurm: CLUSTERS random clusters (60), CASES on each (25)
	@VIZDASH_CAPACITY_CLUSTERS=$(CLUSTERS) VIZDASH_CAPACITY_CASES=$(CASES) \
	  $(BIN)/pytest tests/lab/test_capacity.py

fresh: venv system-tests ## test `make run` on a machine with nothing installed (root, some minutes)
	@$(BIN)/python -m tests.fresh_machine

bench: venv system-tests ## measure costs, as ratios
	@$(BIN)/python -m bench

pyz: venv ## make one file that runs without being installed, dist/vizdash.pyz
	@scripts/make-pyz $(VENV) dist/vizdash.pyz

pictures: venv system-tests ## take the pictures of README and docs on a real cluster (needs root)
	@$(BIN)/python -m tests.lab.pictures docs

clean: ## remove what was built in this folder (the lab's cache: python -m tests.lab clean)
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
