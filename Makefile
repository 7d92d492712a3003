# Every target sets itself up: Python 3.11 or later (with venv), make and git are all that must be there.
#   make PYTHON=/path/to/python …   chooses the interpreter of a fresh .venv; `make clean` first to change it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help test lint types pytest stores stores-images stores-up stores-down demo bench chaos proof package clean

# The tests start thousands of processes: each would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
MINUTES ?= 10
ARGS ?=

# Tests that put load on everything, and judge how late something came, run alone, but for the campaigns, which judge
# order and not lateness; those of the faces watch the clock, a file on each core; those of servers mostly wait for them;
# all others share the cores.
CAMPAIGNS := tests/chaos/test_campaigns.py
ALONE := $(filter-out $(CAMPAIGNS),$(wildcard tests/chaos/test_*.py))
FACES := $(wildcard tests/faces)
FAULTS := $(wildcard tests/stores)
STORES := tests/contract tests/containers
TOGETHER := $(filter-out tests/chaos $(FACES) $(FAULTS) $(STORES) tests/servers tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/)))
ON_STORES := -n 4 --dist loadfile -p leaderlock.testing.summary $(STORES)
COMPOSE := tests/containers/compose
# Where an engine answers, the tests take containers (docs/testing.md), whose images are made before any test's time runs.
IMAGES_IF_ENGINE = ! docker version >/dev/null 2>&1 || [ "$$LEADERLOCK_TEST_STORES" ] || $(MAKE) stores-images || { \
	echo 'NO CONTAINERS: their images cannot be built here; the tests take the servers on PATH' >&2; \
	export LEADERLOCK_TEST_STORES=path; }

help:
	@echo 'make test              lint, types and all tests'
	@echo 'make stores            the contract and sabotage on real stores in containers, as a table   (needs a container engine)'
	@echo 'make stores-up         Redis, Valkey, ZooKeeper and etcd in containers, to try things out; make stores-down'
	@echo 'make demo              see leaders fail and be replaced, in this terminal'
	@echo 'make bench             the figures of docs/benchmarks.md on this machine   (ARGS="--quick taking")'
	@echo 'make chaos MINUTES=10  processes killed and stopped, histories with faults; new ones each time'
	@echo 'make chaos STORE=etcd  faults on a real cluster (redis, redis-sentinel, zookeeper, etcd, sqlite), in containers'
	@echo '                       where there is an engine; NODES=containers or NODES=path; SEED=1 to see them again'
	@echo 'make proof FOLDERS=…   docs/proof.md from what campaigns left with KEEP=folder'
	@echo 'make lint | types | pytest    parts of make test'
	@echo 'make package           build sdist and wheel into dist/'
	@echo 'make clean             remove whatever these made'

test: lint types pytest

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

pytest: .venv/dev
	failed=0; \
	$(IMAGES_IF_ENGINE); \
	$(BIN)/pytest -n auto --dist worksteal $(TOGETHER) || failed=1; \
	$(BIN)/pytest $(ALONE) || failed=1; \
	$(BIN)/pytest -n 3 --dist worksteal $(CAMPAIGNS) || failed=1; \
	$(BIN)/pytest -n auto --dist loadfile $(FACES) || failed=1; \
	$(BIN)/pytest -n 3 --dist loadfile $(FAULTS) || failed=1; \
	$(BIN)/pytest $(ON_STORES) || failed=1; \
	exit $$failed

# Containers that are not up are brought up, and taken down afterwards.
stores: .venv/dev stores-images
	$(BIN)/pytest --stores=containers --require-stores $(ON_STORES) $(ARGS)

# One service of each image: Compose v2 would build it anew for each, under other ids, and then `up` would make containers
# anew that run.
stores-images:
	tests/containers/base-image
	$(COMPOSE) build redis valkey zookeeper-1 etcd-1

stores-up: stores-images
	$(COMPOSE) up -d

stores-down:
	$(COMPOSE) --profile sentinel down -v

demo: .venv/installed
	$(BIN)/leaderlock demo $(ARGS)

bench: .venv/bench
	$(BIN)/python -m benchmarks.run $(ARGS)

ifdef STORE
chaos: .venv/dev
	$(if $(filter sqlite,$(STORE))$(filter path,$(NODES)),,$(IMAGES_IF_ENGINE);) \
	$(BIN)/python -m tests.chaos.campaign --store $(STORE) --minutes $(MINUTES) \
		$(if $(NODES),--nodes $(NODES)) $(if $(SEED),--seed $(SEED)) $(if $(KEEP),--keep $(KEEP)) $(if $(ONLY),--only '$(ONLY)')
else
# Half of the time with real processes that are killed and stopped, half in virtual time. The seeds go on from the
# clock, so that no two runs see the same histories; a violation prints its own. Besides, ten thousand ticks a minute.
chaos: .venv/dev
	LEADERLOCK_CHAOS_SECONDS=$$(( 30 * $(MINUTES) )) $(BIN)/pytest --timeout=0 tests/chaos/test_processes.py
	LEADERLOCK_TICKS=$$(( 10000 * $(MINUTES) )) $(BIN)/pytest --timeout=0 tests/ticks
	@until=$$(( $$(date +%s) + 30 * $(MINUTES) )); seed=$$(( $$(date +%s) * 1000 )); \
	while [ $$(date +%s) -lt $$until ]; do \
		$(BIN)/python -m tests.simulation --jobs 2 --seeds $$seed:$$(( seed + 20 )) || exit 1; \
		seed=$$(( seed + 20 )); \
	done
endif

proof: .venv/dev
	$(BIN)/python -m pip install --quiet --group proof
	$(BIN)/python -m tests.chaos.report $(FOLDERS)

package: .venv/dev
	rm -rf dist
	$(BIN)/python -m build

clean:
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each file below is a stamp: what it names was installed as pyproject.toml now asks for it.

.venv/dev: pyproject.toml .venv/installed
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'  # the first that knows --group
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

.venv/bench: pyproject.toml .venv/dev
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

.venv/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(BIN)/python:
	@python=$$(.ci/python '$(PYTHON)') && set -x && rm -rf .venv && "$$python" -m venv .venv
