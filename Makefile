# Everything a newcomer or CI types.  `make` alone lists the targets.
#
# Every target works on a fresh machine: it first makes .venv and installs the tested versions (constraints.txt).

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.docs-installed

# With it, every process that a test starts would compile again all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# $(call given,NAME,--option): "--option VALUE" if NAME=VALUE stands on make's command line, else nothing.  Variables
# of the environment do not count, since some shells export an ENV that has nothing to do with us.
given = $(if $(filter command,$(origin $1)),$2 $($1))

.DEFAULT_GOAL := help
.PHONY: help install train test shapes conformance slow gpu lint format docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv and install s7rl with everything it is developed with

# An environment that is there is kept.  Debian's python3 can lack ensurepip; the pip beside it then fills the new one.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "s7rl needs Python 3.10 or newer: make PYTHON=...")'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@

train: $(INSTALLED) ## train and evaluate an agent: ENV= AGENT= STEPS= SEED= ARGS= (all optional)
	$(BIN)/s7rl train $(call given,ENV) $(call given,AGENT,--agent) $(call given,STEPS,--steps) \
		$(call given,SEED,--seed) $(call given,ARGS)

test: lint ## run the gates and the whole test suite, except what is marked slow, conformance or gpu
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

shapes: $(INSTALLED) ## the same tests with all signatures checked, and four times the examples of each property
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --jaxtyping-packages=s7rl,beartype.beartype \
		--hypothesis-profile=thorough

conformance: $(INSTALLED) ## hold every registered environment against the checkers; make test does it for some
	$(BIN)/python -m pytest -n $(WORKERS) -m conformance

slow: $(INSTALLED) ## run the tests that take minutes, and those with every core beyond one of each family
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m slow

gpu: $(INSTALLED) ## run the tests that need a GPU, which is hidden from all others
	$(BIN)/python -m pytest -m gpu

lint: $(INSTALLED) ## ruff, mypy and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(INSTALLED) ## put the code into the shape that lint wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Not --quiet: with it, --strict overlooks warnings.
docs: $(DOCS_INSTALLED) ## build the guide and the reference into site/; look at them: python -m http.server -d site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/mkdocs.yml

# Apart from the rest: nothing else needs it.
$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev,docs]"
	touch $@

clean: ## remove .venv and everything that tools have left, but no runs
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find s7rl agents envs experiments examples tests -name __pycache__ -prune -exec rm -rf {} +
