# Every target is a few lines that anybody could type. `make` alone lists them.
#
#   make PYTHON=/path/to/python3    another interpreter for .venv (3.11 or newer)
#   make test WORKERS=4             another number of parallel tests: they wait more than they work (auto: one a core)
#   make test MEMORY=               leave the files of a run on the disk (they are in memory where it has room)
#   make test ARGUMENTS="-k copy"   further arguments for pytest, or for what is measured
#   make faults SEED=1234           one bad day of each kind of the fault lab, step by step
#   make faults ARGUMENTS='--kind moving'    days on which the world moves alone (or: still)
#   make test-pythons OTHERS=1      leave out the Python of .venv, on which make test has run them
#   make LOCK=                      newest packages instead of those of requirements-dev.lock

PYTHON ?=
WORKERS ?= 6
ARGUMENTS ?=
RUNS ?= 400
SEED ?=
MINUTES ?= 5
TIMES ?= 50
OTHERS ?=
LOCK ?= $(wildcard requirements-dev.lock)
# a folder in memory with 4 GB of room: the files of a run are many, and soon gone
MEMORY ?= $(shell df -Pk /dev/shm 2>/dev/null | awk '$$1 == "tmpfs" && $$4 > 4000000 {print "/dev/shm"}')

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet $(if $(LOCK),-c $(LOCK))
PYTEST = $(BIN)/python -m pytest $(ARGUMENTS)
PARALLEL = $(PYTEST) -n $(WORKERS) --dist worksteal
IN_MEMORY = $(if $(MEMORY),TMPDIR=$$(mktemp -d '$(MEMORY)/tests-XXXXXX') && export TMPDIR; \
	trap 'rm -rf "$$TMPDIR"' EXIT; trap 'exit 130' INT TERM HUP;)
# of which the lowest that will do is 3.11, and without ensurepip no .venv can be made
IS_GOOD_PYTHON = import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
REQUIREMENTS := setup.py setup.cfg pyproject.toml $(LOCK)
# the one that is installed, else one unpacked here from the package of Debian or Ubuntu
NGINX := $(or $(shell PATH="$$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin" command -v nginx),build/nginx)

# where it is set, each of the thousand processes of a test run would compile all that it imports
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # two pips must not work on one .venv
.PHONY: help demo test test-lab test-fast test-timing test-pythons faults soak bench bench-profile bench-plan bench-size audit lint format sample messages check-messages dist lock venv clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s  %s\n", $$1, $$2 }' Makefile

demo: .venv/.demo ## migrate a made-up Mastodon between two stores on this machine; leaves demo/ to look into
	@$(BIN)/python -m scripts.demo

test: .venv/.test build/compiled ## run all tests of mastosync, against real servers on this machine
	@$(if $(wildcard $(NGINX)),,$(MAKE) --no-print-directory build/nginx || echo 'So the tests that need nginx are skipped.' >&2)
	@$(IN_MEMORY) $(PARALLEL) --ignore tests/lab

test-lab: .venv/.test build/compiled ## run the tests of those servers and of the fault lab, some of its days, and a short soak
	@$(IN_MEMORY) $(PARALLEL) tests/lab

test-fast: .venv/.test ## run the unit tests only
	$(PYTEST) tests/unit

test-timing: .venv/.test ## run the tests that depend on clocks, signals, deaths or memory TIMES times
	@$(IN_MEMORY) $(PARALLEL) -m timing --count $(TIMES)

test-pythons: .venv/.test ## run the unit tests on every Python from 3.11 on that this machine has
	@$(BIN)/python -m scripts.pythons $(if $(OTHERS),--others) -n auto $(ARGUMENTS)

faults: .venv/.test ## run RUNS migrations of each kind with random faults, and write docs/reliability.md; or run SEED's again
	@$(IN_MEMORY) $(BIN)/python -m faultlab $(if $(SEED),--seed $(SEED),--runs $(RUNS) --jobs $(WORKERS) --write) $(ARGUMENTS)

soak: .venv/.test ## copy for MINUTES with faults, and check that nothing grows
	@$(BIN)/python -m faultlab.soak --minutes $(MINUTES) $(ARGUMENTS)

bench: .venv/.bench $(NGINX) ## measure everything beside other clients, and write benchmarks/results.md
	@$(BIN)/python -m benchmarks $(ARGUMENTS)

bench-profile: .venv/.bench $(NGINX) ## print where the time of a copy goes, of small and of large objects
	@$(BIN)/python -m benchmarks.profile $(ARGUMENTS)

bench-plan: .venv/.test ## measure plans of two million keys, against a PostgreSQL on this machine
	@$(BIN)/python -m benchmarks.plan $(ARGUMENTS)

bench-size: .venv/.test ## measure how many bytes of disk the manifest takes for an entry, pending and done
	@$(BIN)/python -m benchmarks.manifest_size $(ARGUMENTS)

audit: .venv/.audit ## look for known vulnerabilities in what is installed, and check the licenses of what goes along
	$(BIN)/python -m scripts.licenses
	@# --strict: what nobody could look up is no success
	@$(BIN)/pip-audit --strict --requirement requirements-dev.lock --no-deps --disable-pip --progress-spinner off $(AUDIT) || { \
	    echo 'Something has a known hole, or could not be looked up: see above. The service that knows is on the' >&2; \
	    echo 'internet (make audit AUDIT="--vulnerability-service osv" asks another one).' >&2; \
	    exit 1; \
	}

lint: .venv/.dev ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/.dev ## format the code, and fix what a linter can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

sample: .venv/.run ## renew config.sample.ini, and docs/ja/config.sample.ini, from the declarations in mastosync/config
	rm -rf build/sample && mkdir -p build/sample/ja
	LC_ALL=C $(BIN)/mastosync init --output build/sample/config.ini
	LC_ALL=ja_JP.UTF-8 LANGUAGE= $(BIN)/mastosync init --output build/sample/ja/config.ini
	install -m 644 build/sample/config.ini config.sample.ini
	install -m 644 build/sample/ja/config.ini docs/ja/config.sample.ini

messages: .venv/.test ## renew the catalogs in mastosync/locale, and name what is not translated yet
	@$(BIN)/python -m scripts.messages

check-messages: .venv/.test ## fail if a message is not translated, or a catalog is not up to date
	@$(BIN)/python -m scripts.messages --check

dist: .venv/.dist check-messages ## build wheel and sdist into dist/, check them, and migrate the demo with the wheel
	@$(BIN)/python -m scripts.dist

lock: .venv/.made ## renew requirements-dev.lock from the newest packages that fit
	rm -rf build/lock
	$(BIN)/python -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check install --quiet -e '.[test,dev,bench,audit,dist]'
	build/lock/bin/python -m pip freeze --exclude-editable > requirements-dev.lock
	rm -rf build/lock

venv: .venv/.test .venv/.dev ## make .venv with everything, for editors and shells

clean: ## remove what was made here
	rm -rf .venv build dist *.egg-info __pycache__ .pytest_cache .mypy_cache .ruff_cache .hypothesis
	if [ -e demo/.made-by-the-demo ]; then rm -rf demo; fi
	find mastosync lab faultlab scripts benchmarks tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f mastosync/locale/*/LC_MESSAGES/*.mo

# --- .venv, with a stamp for each set of packages it holds ---

.venv/.made:
	@# the system's own first: distributions optimise theirs, and what was built here as it comes is slower
	@found=; \
	for python in $(if $(PYTHON),"$(PYTHON)",/usr/bin/python3 python3 python3.13 python3.12 python3.11 python3.14); do \
	    if "$$python" -c '$(IS_GOOD_PYTHON)' 2>/dev/null; then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo 'There is no Python 3.11 or newer with venv and ensurepip here. Install one (on Debian and Ubuntu:' >&2; \
	    echo 'apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3' >&2; \
	    exit 1; \
	fi; \
	echo "Making .venv with $$("$$found" --version) ..."; \
	"$$found" -m venv --clear .venv
	@touch $@

.venv/.run: .venv/.made $(REQUIREMENTS)
	$(INSTALL) -e .
	@touch $@

.venv/.demo: .venv/.made $(REQUIREMENTS)
	$(INSTALL) -e '.[demo]'
	@touch $@

.venv/.test: .venv/.made $(REQUIREMENTS)
	$(INSTALL) -e '.[test]'
	@touch $@

.venv/.bench: .venv/.made $(REQUIREMENTS)
	$(INSTALL) -e '.[bench]'
	@touch $@

.venv/.audit: .venv/.made $(REQUIREMENTS)
	$(INSTALL) -e '.[audit]'
	@touch $@

.venv/.dist: .venv/.made $(REQUIREMENTS)
	$(INSTALL) -e '.[dist]'
	@touch $@

.venv/.dev: .venv/.made $(REQUIREMENTS)
	$(INSTALL) -e '.[test,dev]'
	@touch $@

# --- tests, compiled once: in a fresh clone each of the parallel processes would compile all of them at the same time ---

build/compiled: .venv/.test $(wildcard tests/*.py tests/*/*.py tests/*/*/*.py)
	@mkdir -p build
	@# one process a core; what cannot be collected is for the tests to say
	@for folders in tests/unit 'tests/acceptance tests/contract tests/integration tests/lab tests/reliability'; do \
	    $(BIN)/python -m pytest -p no:xdist --collect-only -qq $$folders > /dev/null 2>&1 & \
	done; wait
	@touch $@

# --- nginx, neither installed nor configured: its package would start a service on port 80 ---

build/nginx:
	@mkdir -p build && rm -rf build/nginx.new && mkdir build/nginx.new
	@cd build/nginx.new && for package in nginx nginx-core; do \
	    if [ ! -x usr/sbin/nginx ]; then \
	        apt-get download "$$package" && dpkg -x "$$package"_*.deb . || break; \
	    fi; \
	done; \
	if [ ! -x usr/sbin/nginx ]; then \
	    echo 'There is no nginx here, and no package of it could be had. Install it (on Debian and Ubuntu: apt install' >&2; \
	    echo 'nginx; on macOS: brew install nginx), or run apt update if it is long ago.' >&2; \
	    exit 1; \
	fi
	mv build/nginx.new $@
