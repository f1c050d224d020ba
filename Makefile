# Everything a person does with this project. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

UV := .uv/bin/uv
PYTHON := .venv/bin/python
RASA := rasa-env/.venv/bin/python -m bot.engine.rasa
MODEL := models/support.tar.gz
# Which engine is installed: the light one, or the one with TensorFlow where `make engine-full` was the last word.
ENGINE := $(if $(wildcard .make/engine-full),full,light)
ENGINE_LOCK := rasa-env/$(if $(filter full,$(ENGINE)),full,requirements).lock
ENGINE_SIZE := $(if $(filter full,$(ENGINE)),2.7,0.8) GB
TRAINED_FROM := config.yml domain.yml $(shell find data bot/engine handoff/identifiers.py -name '*.yml' -o -name '*.py' 2>/dev/null)
# Rasa's dependencies warn at every start about things we cannot change.
QUIET := RASA_TELEMETRY_ENABLED=false SQLALCHEMY_SILENCE_UBER_WARNING=1 TF_CPP_MIN_LOG_LEVEL=3 PYTHONWARNINGS=ignore PYTHONPATH=.

# What Rasa itself finds wrong with the data; its log is shown only then.
define validate
mkdir -p .make && echo "rasa data validate --fail-on-warnings" && \
  ($(QUIET) $(RASA) data validate --fail-on-warnings --data data --domain domain.yml --config config.yml > .make/validate.log 2>&1 \
   || (cat .make/validate.log; exit 1))
endef

.PHONY: help setup engine-full engine-light demo run train test test-nlu check format bench lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.installed rasa-env/.venv/.installed  ## install both environments

engine-full:  ## install the engine with TensorFlow, for DIETClassifier and its like
	@mkdir -p .make && touch .make/engine-full && rm -f rasa-env/.venv/.installed
	@$(MAKE) --no-print-directory rasa-env/.venv/.installed

engine-light:  ## go back to the engine without it
	@rm -f .make/engine-full rasa-env/.venv/.installed
	@$(MAKE) --no-print-directory rasa-env/.venv/.installed

demo: setup $(MODEL)  ## chat, agents' and customers' mailboxes on one page, no account needed
	@.venv/bin/support demo

run: setup $(MODEL)  ## the real service, from .env
	@.venv/bin/support run

train: setup $(MODEL)  ## train the model if anything it learns from has changed

test: setup $(MODEL) .make/browser .make/mail-servers  ## all tests
	@$(PYTHON) -m pytest -m "not engine" -n auto --dist loadfile
	@$(PYTHON) -m pytest -m engine

test-nlu: setup $(MODEL)  ## how well messages are understood, on held-out ones; and whether the data is in order
	@$(PYTHON) -m pytest -q tests/data
	@$(validate)
	@$(PYTHON) -m tests.nlu.report

check: setup  ## format, lint, types, imports, data
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	@$(validate)

format:  ## put the code into shape
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

bench: setup $(MODEL)  ## benchmarks, 20 minutes; writes bench/results.json (docs/performance.md)
	@$(PYTHON) -m bench

lock: $(UV)  ## renew the lock files after a change of a requirements file
	$(UV) pip compile --universal --generate-hashes --python-version 3.11 --quiet requirements.in requirements-dev.in --output-file requirements.lock
	$(UV) pip compile --universal --generate-hashes --python-version 3.10 --quiet --directory rasa-env requirements.in --output-file full.lock
	$(UV) pip compile --universal --generate-hashes --python-version 3.10 --quiet --directory rasa-env requirements.in \
	  --constraint full.lock --override without-tensorflow.txt --output-file requirements.lock

clean:  ## remove environments, models and what a running system wrote
	rm -rf .venv .uv .make rasa-env/.venv models var build *.egg-info

$(UV):
	@echo "fetching uv, the installer ..."
	@command -v python3 >/dev/null || (echo "python3 is missing: install Python 3.11 or newer"; exit 1)
	@python3 -m venv .uv || (echo "python3 cannot make environments: install the package python3-venv"; exit 1)
	@.uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.9"

# Bytecode is compiled once, here: where Python may not write it later (a read-only or shared environment, or
# PYTHONDONTWRITEBYTECODE), every start would compile thousands of modules again, 20 s instead of 10.
.venv/.installed: requirements.lock pyproject.toml | $(UV)
	@echo "installing the service's environment ..."
	@test -x $(PYTHON) || $(UV) venv --quiet --python '>=3.11' .venv || (echo "Python 3.11 or newer is missing: install it"; exit 1)
	@$(UV) pip sync --quiet --compile-bytecode --python $(PYTHON) --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	@touch $@

rasa-env/.venv/.installed: $(ENGINE_LOCK) | $(UV)
	@echo "installing Rasa's environment, the $(ENGINE) one, $(ENGINE_SIZE) ..."
	@test -x rasa-env/.venv/bin/python || $(UV) venv --quiet --directory rasa-env .venv || \
	  (echo "Python 3.10 is missing and could not be fetched: install it (Rasa 3.6 runs on nothing newer), for example with: pyenv install 3.10"; exit 1)
	@$(UV) pip sync --quiet --compile-bytecode --python rasa-env/.venv/bin/python --require-hashes $(ENGINE_LOCK)
	@touch $@

$(MODEL): $(TRAINED_FROM) | rasa-env/.venv/.installed
	@echo "training the language model, about a minute ..."
	@mkdir -p .make models
	@# It fits and encodes in a process for each core; threads within these would only fight.
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(QUIET) $(RASA) train --force --skip-validation --data data --domain domain.yml --config config.yml --out models --fixed-model-name support > .make/train.log 2>&1 || (tail -40 .make/train.log; exit 1)
	@touch $@

.make/browser: | .venv/.installed
	@mkdir -p .make
	@bash tests/install-browser.sh
	@touch $@

# Without them the tests of real mail servers are skipped, and every run says so.
.make/mail-servers:
	@mkdir -p .make
	@if bash tests/install-mail-servers.sh; then touch $@; fi
