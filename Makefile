# Every target does the set-up it needs by itself; what is there already is skipped.

PYTHON ?= python3
BIN := .venv/bin
SETUP = @command -v $(PYTHON) >/dev/null || { echo 'Wanted: Python 3.11 or newer. Found: no $(PYTHON). To do: install python3.' >&2; exit 1; }; $(PYTHON) -m tools.setup
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(if $(UPGRADE),--upgrade)

# Some machines set it. Tests and tools start our programs by the hundred, and without the files
# that Python would keep, each of those compiles all of our source again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-long lint types imports chart bench pictures lock clean
.SUFFIXES:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## virtual environment in .venv, locked packages, restic; then .venv/bin/strongroom is there
	$(SETUP) dev
	@echo 'Ready: .venv/bin/strongroom --help'

demo: ## back up, damage and restore sample tenants, and prove what came back
	$(SETUP)
	@$(BIN)/strongroom demo

up: ## keep the whole stack running on this machine, with the data of the demo
	$(SETUP)
	@test -e var/demo/demo || $(BIN)/strongroom demo
	@$(BIN)/strongroom up --home var/demo

test: ## all tests but the long ones
	$(SETUP) dev
	@$(BIN)/python -m pytest -q -n 4 --dist worksteal -m 'not long' --ignore=tests/helm

test-long: ## races, fuzzing and soak
	$(SETUP) dev
	@$(BIN)/python -m pytest -q -m long --ignore=tests/helm

lint: ## style and formatting
	$(SETUP) dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: ## mypy and pyright
	$(SETUP) dev
	@$(BIN)/mypy && $(BIN)/pyright

imports: ## each part knows only the parts below it
	$(SETUP) dev
	@$(BIN)/lint-imports

chart: ## render, lint and check the Helm chart against the schemas of Kubernetes
	$(SETUP) dev chart
	@$(BIN)/python -m tools.chart_check
	@$(BIN)/python -m pytest -q tests/helm

bench: ## figures against plain restic, as ratios
	$(SETUP) dev
	@$(BIN)/python -m tests.bench

pictures: ## the main pages as they look, into docs/images
	$(SETUP) dev
	@$(BIN)/python -m tests.browser.pictures

lock: ## pin the packages again after a change in pyproject.toml (UPGRADE=1: newest of everything)
	$(SETUP) dev
	@$(COMPILE) pyproject.toml requirements/build.in --extra embedded -o requirements/run.txt
	@$(COMPILE) pyproject.toml --extra worker --extra vault --extra pkcs11 --extra apprise -c requirements/run.txt -o requirements/production.txt
	@$(COMPILE) requirements/build.in -c requirements/run.txt -o requirements/build.txt
	@$(COMPILE) requirements/dev.in -c requirements/run.txt -o requirements/dev.txt
	@$(COMPILE) requirements/chart.in -c requirements/run.txt -c requirements/dev.txt -o requirements/chart.txt

clean: ## remove the environment and what tools left behind; var/ with its data stays
	rm -rf .venv .tools dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
