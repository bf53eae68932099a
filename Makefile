# make run                 serve on http://127.0.0.1:8000, with nothing installed but Python >= 3.11
# make run ARGS="--demo"   the same, with a newsroom's day played into it
# make test                set up all that the tests need, then every check and every test
# make check               ruff, mypy, and TypeScript over the page's scripts
# make slowtest            four slow HTTP attacks with 1,000 connections each, by slowhttptest (a minute)
# make soak N=10000        so many seeded schedules of faults; a failure tells its seed, SEED= starts elsewhere
# make planted             bugs planted on purpose, and how many schedules find each
# make bench               the benchmarks, against the peers installed here
# make endurance           deploys, storms, churn and memory at full size (about six minutes)
# make procfile            web and a Redis of your own, as the Procfile says (honcho)
# make clean               remove what these commands made, but never var/, the data

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# pytest-xdist: one process per core; a test of eight processes at once needs no more.
PYTEST_ARGS ?= -n auto --maxprocesses=8
export PYTHONUNBUFFERED = 1

N ?= 1000
SEED ?= 1

.PHONY: help run test check lint types scripts slowtest planted soak bench endurance procfile clean
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run: $(VENV)/.installed
	@exec $(BIN)/livefeed serve $(ARGS)

test: $(VENV)/.installed-dev
	@.ci/setup $(BIN)/python
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(ARGS)

check: lint types scripts

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

scripts:
	@if [ ! -f tsconfig.json ]; then :; \
	elif [ -x node_modules/.bin/tsc ]; then echo node_modules/.bin/tsc -p .; node_modules/.bin/tsc -p .; \
	else echo "The page's scripts are not type-checked: 'make test' with node and npm installed sets that up."; fi

slowtest: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults.slowtest

planted: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults.planted $(ARGS)

soak: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults.soak -n $(N) --seed $(SEED) $(ARGS)

bench: $(VENV)/.installed-bench
	$(BIN)/python -m bench $(ARGS)

# Five times the requests and connections of `make test`, then the scenarios of bench/endurance/.
endurance: $(VENV)/.installed-dev
	ENDURANCE=5 $(BIN)/python -m pytest -q --timeout=300 tests/feed/test_cancellation.py
	$(BIN)/python -m bench.endurance $(ARGS)

# PORT is what a Procfile host sets; honcho's own default would be 5000.
procfile: $(VENV)/.installed-dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" PORT="$${PORT:-8000}" \
	LIVEFEED_REDIS_URL="$${LIVEFEED_REDIS_URL:-redis://127.0.0.1:$${REDIS_PORT:-6379}/0}" \
	exec $(BIN)/honcho start $(ARGS)

clean:
	rm -rf $(VENV) node_modules build dist bench/build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than pyproject.toml when everything it names is installed: a second start does no work.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/pip
	@echo "Installing livefeed into $(VENV) (once)..."
	@$(PIP) install -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/pip
	@echo "Installing livefeed and its tests' tools into $(VENV) (once)..."
	@$(PIP) install -e '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: pyproject.toml | $(VENV)/bin/pip
	@echo "Installing livefeed, its tests' tools and the benchmark's into $(VENV) (once)..."
	@$(PIP) install -e '.[dev,bench]'
	@touch $(VENV)/.installed $(VENV)/.installed-dev $@

$(VENV)/bin/pip:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "livefeed needs Python 3.11 or newer: install python3 and python3-venv (or name one: make PYTHON=...)."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "livefeed needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())')." \
	  "Name a newer one: make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian, Ubuntu: apt install python3-venv)."; \
	  exit 1; }
