# The everyday commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
S3_VENV := .venv-s3
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
# Tests wait for hosts a third of their time, a browser is busy all the time (docs/decisions/0023).
BROWSERS ?= $(shell nproc)
WORKERS ?= $(shell expr $$(nproc) + 2)
TESTS ?= tests src/testum/features
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
# As docker-compose.yml has them: from the environment, or .env, or the default.
setting = $(or $($(1)),$(shell sed -n 's/^$(1)=//p' .env 2>/dev/null | tail -n 1),$(2))
IMAGE = $(call setting,TESTUM_IMAGE,testum):$(call setting,TESTUM_TAG,latest)
export COMPOSE_PROJECT_NAME := $(call setting,COMPOSE_PROJECT_NAME,testum)
LOCALES := src/testum/web/locale
MESSAGES := build/testum.pot
MODULES := frontend/node_modules/.testum
# Where the shell has it, each run of the tests would compile all of them anew, in each of pytest's processes.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := -m pip install --quiet --disable-pip-version-check
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -- set-up ----------------------------------------------------------------------------------------

# Every package is checked against the hashes in the locks; testum itself is linked, not copied.
# The web interface is built with it, by the machine's Node or by one from a package.
$(VENV)/.runtime: requirements.lock requirements-build.lock requirements-node.lock pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("testum needs Python 3.11 or newer; name one with PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python cannot make virtual environments here: install its venv package (Debian: apt install python3-venv)." >&2; exit 1; }
	@echo "Installing testum and its packages into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(INSTALL) --require-hashes -r requirements.lock -r requirements-build.lock
	@$(BIN)/python hatch_build.py node || $(BIN)/python $(INSTALL) --require-hashes -r requirements-node.lock
# Before the package, whose own build would not be heard.
	@$(BIN)/python hatch_build.py
	@$(BIN)/python $(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.lock
	@echo "Installing the development tools into $(VENV) ..."
	@$(BIN)/python $(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

$(BENCH_VENV)/.ready: requirements-bench.lock
	@test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python $(INSTALL) --require-hashes -r requirements-bench.lock
	@touch $@

# OpenStack Swift, the S3 server of the tests (tests/support/s3.py).
$(S3_VENV)/.ready: requirements-s3.lock
	@test -x $(S3_VENV)/bin/python || $(PYTHON) -m venv $(S3_VENV)
	@$(S3_VENV)/bin/python $(INSTALL) --require-hashes -r requirements-s3.lock
	@touch $@

# The packages of the tests' containers, Debian's and Python's, where Docker is.
.PHONY: stand-ins
stand-ins: $(VENV)/.development
	@$(BIN)/python -m tests.deploy.images

.PHONY: setup
setup: $(VENV)/.development ## Install all that development needs, into .venv

# All that the web interface is built and checked with; axe-core is among it.
$(MODULES): $(VENV)/.runtime frontend/package-lock.json
	@$(BIN)/python hatch_build.py modules
	@touch $@

# Builds and compiles only where the sources have changed since. Python would compile them when they are imported, but
# where it must keep nothing (PYTHONDONTWRITEBYTECODE), it does so at each start.
.PHONY: assets
assets: $(VENV)/.runtime ## Build the web interface's scripts, styles and translations, compile the modules
	@$(BIN)/python hatch_build.py
	@$(BIN)/python -m compileall -q src

# -- running ---------------------------------------------------------------------------------------

.PHONY: demo
demo: assets ## Run the server with six demo SSH hosts (data in data/demo)
	@DATA_DIR=$${DATA_DIR:-data/demo} exec $(BIN)/testum demo --host $(HOST) --port $(PORT)

.PHONY: run
run: assets ## Run the server (data in data/)
	@exec $(BIN)/testum serve --host $(HOST) --port $(PORT)

.PHONY: migrate
migrate: $(VENV)/.runtime ## Bring the database to this release's schema
	@$(BIN)/testum db upgrade

.PHONY: generate-key
generate-key: $(VENV)/.runtime ## Print a new key for FERNET_KEY or SECRET_KEY
	@$(BIN)/testum generate-key

# -- development -----------------------------------------------------------------------------------

# How Python runs pytest; `make coverage` measures it.
PYTEST = $(BIN)/python $(MEASURE) -m pytest
TIMINGS := build/timings
MANY := --dist worksteal -m "not slow and not alone" --timings $(TIMINGS)
ALONE := -m "alone and not slow" --timings $(TIMINGS)
CHECKED := $(VENV)/.development assets $(MODULES) $(S3_VENV)/.ready began

.PHONY: test
test: $(CHECKED) lint tests ## Run every check and every test but the long rounds (as root: they start a real sshd)
	@$(BIN)/python -m tests.timings $(TIMINGS)

# What the time of all checks is counted from: packages are there.
.PHONY: began
began: $(VENV)/.development $(MODULES) $(S3_VENV)/.ready
	@rm -rf $(TIMINGS) && mkdir -p $(TIMINGS) && touch $(TIMINGS)/began

# The pages' tests have processes of their own: Playwright's event loop and those of other tests do not go together.
# They run beside those with servers, which wait for their hosts and servers half of their time. What promises a time is
# measured with nothing beside it.
.PHONY: tests
tests: $(CHECKED)
	$(PYTEST) -n $(WORKERS) $(MANY) --ignore tests/pages $(TESTS)
	@$(MAKE) --no-print-directory -j 2 --output-sync=target tests-on-servers tests-of-pages
	$(PYTEST) $(ALONE) $(TESTS)
	$(BIN)/python -m tests.faults.rounds --mode servers --kind kills --platforms 100

.PHONY: tests-on-servers tests-of-pages
tests-on-servers:
	$(PYTEST) -n $(WORKERS) $(MANY) --ignore tests/pages --mode servers $(TESTS)
tests-of-pages:
	$(PYTEST) -n $(BROWSERS) $(MANY) tests/pages

.PHONY: test-all
test-all: stand-ins test ## Run all that and the long rounds of faults, races, load and generated examples
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m hypothesis --hypothesis-profile new --timeout 1200 $(TESTS)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "slow and not alone" $(TESTS)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "slow and not alone" --mode servers $(TESTS)
	$(BIN)/python -m pytest -s -m "alone and slow" $(TESTS)
	$(BIN)/python -m pytest -s -m "alone and slow" --mode servers $(TESTS)
	$(BIN)/python -m tests.faults.rounds --rounds 50 --jobs 3

.PHONY: coverage
coverage: ## Measure which branches of src the tests of `make test` reach, the processes that they start with it
	@rm -rf build/coverage
	$(MAKE) tests MEASURE="-m coverage run"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --sort cover

.PHONY: e2e
e2e: assets $(VENV)/.development $(MODULES) ## Run the tests of the pages alone, in a real Chromium (as root)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not alone" tests/pages
	$(BIN)/python -m pytest -m alone tests/pages

.PHONY: screenshots
screenshots: assets $(VENV)/.development ## Write a picture of every page into screenshots/, renew those in docs/images (as root)
	$(BIN)/python -m tests.pages.screenshots screenshots

.PHONY: bench
bench: $(VENV)/.development $(BENCH_VENV)/.ready $(S3_VENV)/.ready ## Compare with other tools, side by side in one run
	$(BIN)/python -m bench --others $(BENCH_VENV)/bin

# The files that git has or would add. A file may say `kingfisher:ignore` in a line that is no secret; the pattern is
# the example in settings and their messages. Nothing that is found is sent anywhere to be tried.
SECRET_SCAN = git ls-files -z --cached --others --exclude-standard | xargs --null $(BIN)/kingfisher scan --quiet --redact \
	  --no-dedup --no-validate --no-update-check --git-history none --rules-path tools/secrets.yml --skip-regex 'redis://:password@host'
.PHONY: lint
lint: $(VENV)/.development ## Check style, types, import rules, and packages and files for what is known to be dangerous
	@$(MAKE) --no-print-directory -j $$(nproc) --output-sync=target $(LINTS)

LINTS := lint-types lint-frontend lint-code lint-dangers
.PHONY: $(LINTS)
lint-code:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# A method's name, which ruff has no rule for; time.sleep and its like are in its rules.
	@if grep -rn --include '*.py' wait_for_timeout tests; then echo "Tests wait for what a page shows, not for a time: tests/support/waiting.py." >&2; exit 1; fi
	$(BIN)/lint-imports
	$(BIN)/deptry .
lint-types:
	$(BIN)/mypy
lint-frontend:
	$(BIN)/python hatch_build.py lint
lint-dangers:
	$(SECRET_SCAN)
	$(BIN)/python -m tools.audit

.PHONY: format
format: $(VENV)/.development ## Put the code into the house's form
	$(BIN)/python hatch_build.py format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: messages
messages: $(VENV)/.development ## Bring the translations' files in line with the sources: then fill in what is new
	@mkdir -p build
	@$(BIN)/pybabel -q extract -F pyproject.toml -k N_ --add-location=file --no-wrap --sort-by-file --project testum --version "" -o $(MESSAGES) src frontend/src
	@for file in $(LOCALES)/*/LC_MESSAGES/testum.po; do $(BIN)/pybabel -q update --no-fuzzy-matching --ignore-obsolete --no-wrap --ignore-pot-creation-date -i $(MESSAGES) -o $$file -l $$(basename $$(dirname $$(dirname $$file))); done
	@rm $(MESSAGES)

.PHONY: migration
migration: $(VENV)/.development ## Write a migration for changed tables: make migration NAME="add a column"
	@test -n "$(NAME)" || { echo 'Say what it does: make migration NAME="add a column"' >&2; exit 2; }
	@$(BIN)/python -c 'import sys; from testum.db.migrate import write_migration; print(write_migration(sys.argv[1]))' "$(NAME)"

.PHONY: schema
schema: $(VENV)/.development ## Write down the tables of a new installation, as the migrations make them
	@$(BIN)/python -c 'from testum.db.migrate import SCHEMA, schema_of_migrations; SCHEMA.write_text(schema_of_migrations(), "utf-8")'

.PHONY: lock
lock: ## Choose and write down the packages' versions anew (needs uv)
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) --group build -o requirements-build.lock
	$(LOCK) --group node -o requirements-node.lock
	$(LOCK) pyproject.toml --group dev -o requirements-dev.lock
	$(LOCK) --group bench -o requirements-bench.lock
	$(LOCK) --group s3 -o requirements-s3.lock

# -- Docker Compose ---------------------------------------------------------------------------------

.PHONY: build
build: ## Build the image that docker-compose.yml runs
	docker build --tag $(IMAGE) \
	  --build-arg VERSION="$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/testum/__init__.py)" \
	  --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" $(BUILD) .

.PHONY: up
up: ## Start web, worker and their servers in containers (.env: docs/guide/compose.md)
	$(COMPOSE) up --detach --remove-orphans

.PHONY: down
down: ## Stop and remove the containers; their data stays in volumes
	$(COMPOSE) down

.PHONY: logs
logs: ## Follow what the containers print
	$(COMPOSE) logs --follow --tail 100

.PHONY: shell
shell: ## A shell in the web container
	$(COMPOSE) exec web sh

.PHONY: db-shell
db-shell: ## psql on the containers' database
	$(COMPOSE) exec postgres psql --variable HISTFILE=/dev/null --username testum testum

.PHONY: redis-cli
redis-cli: ## redis-cli on the containers' Redis
	$(COMPOSE) exec redis redis-cli

# By the project's label and not by Compose, which would want all of its settings first. The servers last: a worker
# that stops in order writes down what it did.
PROJECT = --filter label=com.docker.compose.project=$(COMPOSE_PROJECT_NAME)
.PHONY: clean
clean: ## Remove what was built and cached, the containers and the image; data/ and the volumes stay
	rm -rf $(VENV) $(BENCH_VENV) $(S3_VENV) build dist frontend/node_modules src/testum/web/static src/testum/web/locale/*/LC_MESSAGES/testum.mo src/testum/web/locale/*/LC_MESSAGES/testum.json screenshots .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@if docker info >/dev/null 2>&1; then \
	  for service in web worker; do \
	    docker ps --quiet $(PROJECT) --filter label=com.docker.compose.service=$$service | xargs --no-run-if-empty docker stop; \
	  done; \
	  docker ps --quiet $(PROJECT) | xargs --no-run-if-empty docker stop; \
	  docker ps --all --quiet $(PROJECT) | xargs --no-run-if-empty docker rm; \
	  docker network ls --quiet $(PROJECT) | xargs --no-run-if-empty docker network rm; \
	  docker image ls --quiet $(IMAGE) | xargs --no-run-if-empty docker image rm --force; \
	fi
