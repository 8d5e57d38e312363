# demo test test-debug check torture bench docs build; `make help` lists them
PYTHON ?= python3
BIN := .venv/bin
COMPILED := $(shell find mta -name '*.pyx' -o -name '*.pxd')
# What `test-debug` runs beside the unit tests: mail in and out, DSNs, other ways out.
SOME := $(patsubst %,tests/scenarios/test_%.py,delivery extensions transports)
# Tests wait more than they compute, so two for each of two cores.
JOBS ?= 4
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help build demo test test-debug test-unit check torture bench docs lock clean

help:            ## list the verbs
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: .venv/.built  ## the virtual environment, the compiled modules and .venv/bin/mta

.venv/.built: pyproject.toml setup.py requirements.lock $(COMPILED) $(wildcard $(COMPILED:.pxd=.py))
	@tools/build $(PYTHON)

demo: build      ## 20,000 messages through a real server, with a report
	@$(BIN)/mta demo

test: build      ## every test; those of peers that are not installed are skipped and named
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal tests

test-debug: build ## with every check in the compiled code, then without compiled Python modules
	@$(BIN)/python tools/trial.py debug -q -n $(JOBS) tests/unit tests/fuzz tests/dialogs $(SOME)
	@$(BIN)/python tools/trial.py plain -q -n $(JOBS) tests/unit tests/dialogs $(SOME)

test-unit: build ## the unit suite alone
	@$(BIN)/python -m pytest -q -n auto tests/unit

check: build     ## ruff, mypy, import-linter, cython-lint
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint $(COMPILED)

torture: build   ## faults on purpose, for hours; rows go to tests/torture/results
	@$(BIN)/python -m tests.torture all

bench: build     ## the benchmark suite, about an hour; figures go to bench/results
	@$(BIN)/python -m bench

docs: build      ## the generated references
	@$(BIN)/python tools/reference.py
	@$(BIN)/python tools/reliability.py

lock:            ## pin what development and CI use
	@$(BIN)/uv pip compile -q --extra dev --no-header --no-annotate --no-emit-index-url \
	    --python-version 3.11 pyproject.toml -o requirements.lock

clean:           ## remove what the build made
	@rm -rf .venv build *.egg-info ; find mta -name '*.so' -o -name '*.c' | xargs rm -f
