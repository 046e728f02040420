PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check
TESTS := migration_assets_tests
SYSTEM := $(TESTS)/system
ON_OLDER := $(wildcard $(TESTS)/property/test_any_*.py $(TESTS)/integration/test_step_*.py) \
  $(patsubst %,$(TESTS)/property/test_%.py,digest json moments parquet_and_copy round_trip) \
  $(patsubst %,$(TESTS)/integration/test_%.py,bad_target drift ledger quarantine_replay \
  target_catalogue translate trial views)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.PHONY: help install demo test test-system soak lint bench-definitions acceptance data-named pictures lock clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## Make .venv with everything pinned (PYTHON=python3, 3.11 or newer)

# --no-build-isolation: the build backend is in the lock as well, so nothing unpinned is fetched
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' comes without venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "Installing $$(grep -c '^[a-z]' requirements.lock) pinned packages (a few minutes the first time)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED) ## Migrate a made-up business, or SOURCE=file.db, and show it (UI=0: no browser UI)
	@$(BIN)/migration-assets demo $(if $(SOURCE),--source "$(SOURCE)") $(if $(filter 0,$(UI)),--no-ui)

test: $(INSTALLED) ## Run all tests but the system's in random order, with branch coverage
	@$(BIN)/python -m pytest -n 2 --ignore=$(SYSTEM) --cov --cov-branch --cov-report=term

# The second time what depends on the server runs on an older PostgreSQL.
test-system: $(INSTALLED) ## Test with a browser, TLS, nginx, PostgreSQL 15 (Debian packages: see README.md)
	@$(BIN)/python -m pytest $(SYSTEM)
	@$(BIN)/python -m pytest -n 2 --postgres=15 $(ON_OLDER)

SOAK ?= 30
SEED ?= 1

soak: $(INSTALLED) ## Let random lives and the long fault tests run for SOAK=30 minutes; figures into docs
	@$(BIN)/python -m migration_assets_tests.soak --minutes "$(SOAK)" --seed "$(SEED)" --write

lint: $(INSTALLED) ## Check style, format, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

bench-definitions: $(INSTALLED) ## Measure how long definitions of 1, 300 and 1,000 tables load
	@$(BIN)/python -m benchmarks.definitions

acceptance: data-named $(INSTALLED) ## Migrate the SQLite files below DATA=folder and check every promise on them
	@$(BIN)/python -m migration_assets_tests.acceptance "$(DATA)"

data-named:
	@test -d "$(DATA)" || { \
	  echo "Name the folder with the data: make acceptance DATA=../shared/data" >&2; exit 1; }

pictures: $(INSTALLED) ## Take the pictures of README and docs from a demo (Debian: chromium fonts-dejavu-core)
	@$(BIN)/python -m docs.pictures.take

lock: ## Pin what pyproject.toml asks for in requirements.lock (needs uv)
	@command -v uv >/dev/null || { echo "uv is needed: https://docs.astral.sh/uv" >&2; exit 1; }
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-strip-extras --no-annotate --no-header \
	  --group dev --extra aws pyproject.toml -o requirements.lock

clean: ## Remove .venv, builds and caches; data in .migration stay
	@rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
