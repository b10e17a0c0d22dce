# Two commands that need only Python (3.11 or newer, with venv), make and a package index:
#
#   make demo    what is gained: real work on every local backend, beside a plain loop and concurrent.futures
#   make test    the tests
#
# Both do all their own set-up, in .venv. PYTHON= names another interpreter or just its version (make test PYTHON=3.11),
# VENV= another environment, TESTS= some of the tests, JOBS= how many files of them at once, ARGS= more options of pytest.

PYTHON ?=
VENV ?= .venv
GROUPS_FOR_TESTS ?= test
TESTS ?= tests $(wildcard packages/*/tests plugins/*/tests)
JOBS ?= 2
ARGS ?=

ifeq ($(OS),Windows_NT)
RUN := $(VENV)/Scripts/python
else
RUN := $(VENV)/bin/python
endif
PACKAGES := corefutures $(wildcard packages/*/src plugins/*/src)
# The interpreter backend runs on 3.14 and newer only: with 3.11 it is left out.
CHECKED := $(PACKAGES) $(wildcard examples benchmarks tools tests/typing)

# Start-up figures without bytecode mislead by 3 to 10 times.
unexport PYTHONDONTWRITEBYTECODE

# $(call set-up,GROUPS): the environment, with these dependency groups in it
set-up = @python=$$(tools/select-python "$(PYTHON)") && "$$python" tools/make_venv.py "$(VENV)" $(1)

.PHONY: help demo test races tools cpython defects explore check api docs dist wheels bench chaos certify format clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,7p'
	@echo 'Also: make check (lint, format, types, import rules), cpython (its own test-suite on our classes), tools (gevent, PyInstaller and others that pools meet), defects (mutants:'
	@echo 'executors with one defect each, which prove the conformance kit), dist (wheels and sdists of all, to install from), wheels (each one'
	@echo 'alone in a clean environment), explore (every hand-off under every schedule), races (each test in eight threads at once), api (writes down the public names), docs (the site), bench, chaos (long), certify (every Python, every start method), format, clean.'

demo:
	$(call set-up,)
	@$(RUN) examples/demo.py

test:
	$(call set-up,$(GROUPS_FOR_TESTS))
	$(RUN) -m pytest $(TESTS) --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

# For at least so many minutes, each test in eight threads at once, which switch as often as they can: data races.
MINUTES ?= 5
RACES ?= tests/core plugins/thread/tests packages/structured/tests $(wildcard packages/pools/tests/test_*.py)
races:
	$(call set-up,$(GROUPS_FOR_TESTS))
	@end=$$(($$(date +%s) + 60 * $(MINUTES))); while \
	$(RUN) -m pytest $(RACES) -p in_parallel --parallel-threads 8 --timeout 300 $(ARGS) || exit 1; \
	[ $$(date +%s) -lt $$end ]; do :; done

# With the tools that pools meet, in an environment of their own.
tools:
	@$(MAKE) --no-print-directory test VENV="$(VENV)-tools" GROUPS_FOR_TESTS=tools TESTS="tests/tools plugins/ray/tests" ARGS="$(ARGS)"

cpython:
	$(call set-up,$(GROUPS_FOR_TESTS))
	$(RUN) -m pytest tests/cpython $(ARGS)

# Every mutant, an executor with one defect, killed by its rule: two halves side by side. `make test` takes a tenth.
defects:
	$(call set-up,$(GROUPS_FOR_TESTS))
	@COREFUTURES_KIT_SHARE=1/2 $(RUN) -m pytest packages/conformance/tests/test_mutants.py $(ARGS) >$(VENV)/defects-1.log 2>&1 & half=$$!; \
	COREFUTURES_KIT_SHARE=2/2 $(RUN) -m pytest packages/conformance/tests/test_mutants.py $(ARGS); second=$$?; \
	wait $$half; first=$$?; tail -n 40 $(VENV)/defects-1.log; exit $$((first + second))

explore:
	$(call set-up,$(GROUPS_FOR_TESTS) explore)
	$(RUN) -m pytest tests/explore/test_outside_explorers.py --numprocesses $(JOBS)
	$(RUN) tests/explore/exploring.py $(ARGS)

check:
	$(call set-up,test check)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy $(CHECKED)
	$(RUN) -m mypy --python-version 3.11 --no-warn-unused-ignores $(filter-out plugins/interpreter/src,$(CHECKED))
	$(RUN) -m mypy --platform win32 --no-warn-unused-ignores $(CHECKED)
	$(RUN) -m pyright --pythonpath $(RUN) $(CHECKED)
	$(RUN) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

api:
	$(call set-up,test)
	$(RUN) tools/api_surface.py

docs:
	$(call set-up,docs)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo 'The site is in site/: open site/index.html, or, to search it, run python -m http.server --directory site'

dist:
	$(call set-up,)
	@$(RUN) tools/build_dist.py dist
	@echo "Install from it with: pip install --find-links dist 'corefutures[all]'"

wheels:
	$(call set-up,test release)
	$(RUN) -m pytest tests/packaging -m wheel $(ARGS)

bench:
	$(call set-up,test benchmark)
	$(RUN) -m benchmarks instructions --rounds 1 --json benchmarks/results/instructions.json
	$(RUN) tools/readme_figures.py
	$(RUN) -m benchmarks

# SEED= repeats a run of the chaos, SCHEDULE= one of its programs; CALLS= says how many calls.
chaos:
	$(call set-up,test)
	$(RUN) tests/chaos/chaos.py
	$(if $(SEED),,$(RUN) -m pytest $(TESTS) -m chaos_long $(ARGS))

certify:
	.ci/run --all

format:
	$(call set-up,test check)
	$(RUN) -m ruff check --fix-only --quiet .
	$(RUN) -m ruff format .

clean:
	rm -rf .venv .venv-* dist build site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
