# Everything runs in ./.venv, which is made on the way, and made anew only when pyproject.toml changes.
# Needed on the machine: make, and Python 3.11 or newer with venv. `make PYTHON=python3.13 test` chooses one.

PYTHON ?= python3
VENV ?= .venv
# More processes than cores: half of the time a test waits, for a timer or for another process.
PYTEST_ARGS ?= -n 4 --dist worksteal

BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

.DEFAULT_GOAL = help
.PHONY: help demo test test-matrix test-postgres lint imports typecheck bench docs docs-links install clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## a web application with jobs, from start to stop, on a PostgreSQL of its own
	@$(BIN)/python -m examples.demo

test: $(INSTALLED) ## the whole test suite (PYTEST_ARGS="-k retry" for some of it)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# What their versions could make a difference to; the processes, kills and crashes of the rest they do not see.
MATRIX = tests/enqueueing tests/migrations tests/models tests/runtime tests/statements tests/testing tests/workers \
	tests/control tests/cli/test_help.py
# The oldest that pyproject.toml allows.
OLDEST = sqlalchemy<2.1 click<8.2 pydantic<2.11

test-matrix: ## the tests that versions could matter to, on SQLAlchemy 2.0 and the oldest click and pydantic
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS='$(OLDEST)' PYTEST_ARGS='$(PYTEST_ARGS) $(MATRIX)'

test-postgres: ## the test suite on the PostgreSQL whose binaries lie in BINDIR=/usr/lib/postgresql/14/bin
	@test -x '$(BINDIR)/initdb' || { echo 'BINDIR names the directory of postgres and initdb: BINDIR=$(BINDIR)' >&2; exit 2; }
	OBAN_TEST_PG=local PATH="$(abspath $(BINDIR)):$$PATH" $(MAKE) test

lint: $(INSTALLED) imports ## style, format, and the one-way order of the modules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

imports: $(INSTALLED) ## the one-way order of the modules alone
	$(BIN)/lint-imports

typecheck: $(INSTALLED) ## pyright and mypy, both strict
	$(BIN)/pyright
	$(BIN)/mypy

bench: $(INSTALLED) ## speed, beside a hand-written asyncpg loop
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed-docs ## the documentation, into docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-links: $(VENV)/.installed-docs ## whether the links out of the documentation lead somewhere; needs the internet
	$(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/links

install: $(INSTALLED) ## only what the others need

clean: ## remove everything that was made
	rm -rf .venv .venv-* build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@PYTHON="$(PYTHON)" sh .ci/venv $(VENV)
	@echo "Installing into $(VENV); this happens once, and takes a minute or so."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' $(foreach one,$(CONSTRAINTS),'$(one)')
	@touch $@

$(VENV)/.installed-docs: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@
