# Each target prepares .venv itself; `make help` lists them. A fresh machine needs only
# make and python3 >= 3.11; another interpreter: make PYTHON=python3.12 test

PYTHON  ?= python3
WORKERS ?= 2
ONLY    ?=
FULL    ?=
PYTEST_ARGS ?=
DEMO_DIR ?= build/demo

VENV  := .venv
STAMP := $(VENV)/.ready
RUN   := $(VENV)/bin/python
PIP_INSTALL := $(RUN) -m pip install --disable-pip-version-check

# One thread for each test worker: two workers on two cores do not fight, and the bits of a
# trained net, which depend on the number of threads, are the same on every machine.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MPLBACKEND=Agg
CODE := setup.py sk_unlearn tests examples benchmarks docs

# The stamp is written last and names this folder, so an environment that is half made, broken
# or copied from elsewhere has no valid stamp and is built again from nothing.
$(shell [ "$$(cat '$(STAMP)' 2>/dev/null)" = '$(CURDIR)' ] && '$(RUN)' -c '' 2>/dev/null \
        || rm -f '$(STAMP)')

.PHONY: help demo test coverage lint format docs bench clean .venv
.DEFAULT_GOAL := help

help:  ## List the targets
	@echo 'Targets (each prepares .venv on its first run):'
	@sed -n 's/^\([a-z.]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 18

demo: $(STAMP)  ## Exact and approximate removal compared on real data: a table and a figure
	@mkdir -p '$(DEMO_DIR)'
	@MPLBACKEND=Agg SK_UNLEARN_OUTPUT='$(DEMO_DIR)' $(RUN) examples/plot_exact_and_approximate.py

test: $(STAMP)  ## The full test suite, about 12 minutes (PYTEST_ARGS='-k puma', WORKERS=4)
	@echo 'The full suite, doctests included, takes about 12 minutes on two cores.'
	$(TEST_ENV) $(RUN) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

coverage: $(STAMP)  ## The test suite with branch coverage; report in htmlcov/
	$(TEST_ENV) $(RUN) -m pytest -n $(WORKERS) --dist worksteal \
	    --cov --cov-report=term --cov-report=html $(PYTEST_ARGS)

lint: $(STAMP)  ## Check style, format and spelling
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m codespell_lib

format: $(STAMP)  ## Apply the format and the fixes that need no judgement
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: $(STAMP)  ## Build the documentation and run its examples; warnings are errors
	MPLBACKEND=Agg $(RUN) -m sphinx -W --keep-going -j auto -b html docs docs/_build/html
	@echo 'Documentation: docs/_build/html/index.html'

bench: $(STAMP)  ## All benchmarks, in 15 minutes; or one: ONLY=name; as in the guide: FULL=1
	@$(RUN) benchmarks/run.py $(ONLY) $(if $(FULL),--full)

clean:  ## Remove everything that these targets made, .venv included
	rm -rf $(VENV) build dist htmlcov *.egg-info .coverage .coverage.*
	rm -rf .pytest_cache .ruff_cache .hypothesis docs/_build docs/auto_examples docs/generated
	rm -f docs/sg_execution_times.rst
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: $(STAMP)  ## Only the environment, from the versions pinned in requirements-dev.txt

$(STAMP): requirements-dev.txt pyproject.toml setup.py
	@if [ ! -e $@ ]; then \
	    if ! command -v $(PYTHON) >/dev/null 2>&1; then \
	        echo 'No $(PYTHON) here. sk_unlearn needs Python 3.11 or newer;' >&2; \
	        echo 'name yours: make PYTHON=/path/to/python3 $(MAKECMDGOALS)' >&2; exit 1; \
	    fi; \
	    if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	        echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); sk_unlearn needs 3.11 or newer." >&2; \
	        echo 'Name a newer one: make PYTHON=/path/to/python3 $(MAKECMDGOALS)' >&2; exit 1; \
	    fi; \
	    quiet=; echo 'Preparing $(VENV); the first time takes a few minutes ...'; \
	    rm -rf $(VENV); \
	    $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	        echo 'The venv module is incomplete (Debian, Ubuntu: apt install python3-venv).' >&2; \
	        exit 1; }; \
	else \
	    echo 'Updating $(VENV) ...'; rm -f $@; quiet=--quiet; \
	fi; \
	$(PIP_INSTALL) $$quiet -r requirements-dev.txt && \
	$(PIP_INSTALL) --quiet --no-index --no-deps --no-build-isolation --editable . && \
	printf '%s\n' '$(CURDIR)' > $@
