# What a person or CI asks for. `make` alone lists it.
PYTHON ?= python3
JOBS ?= 2
SUITE ?= quixbugs
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup ready test test-slow test-containment test-languages images engines postgres browser check format demo bench clean

help:
	@echo 'make setup   virtual environment in $(VENV) with ADI and its tools, versions as in constraints.txt'
	@echo 'make demo    from nothing to an accepted, tested change in a small repository'
	@echo 'make test    the tests; Docker, the sandbox image and the model are made ready first'
	@echo 'make test-containment   every attack of docs/security.md on the sandbox, with a count per group'
	@echo 'make test-slow          what takes too long for every change; more parameters of what make test runs, too'
	@echo 'make test-languages     programs of seven languages and their tests, each in its own image'
	@echo 'make images  the sandbox images of all languages (about 8 minutes the first time)'
	@echo 'make check   format, lint, types and house rules, in under a minute'
	@echo 'make format  format the code'
	@echo 'make bench   DATA=<dir of the suites> [SUITE=quixbugs]: measure the agent'
	@echo 'make clean   remove what these targets made in this directory'

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo 'setup: virtual environment in $(VENV) with $(PYTHON)'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'error: ADI needs Python 3.11 or newer'; echo 'hint: make PYTHON=python3.11 $(MAKECMDGOALS)'; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { echo 'hint: apt-get install python3-venv'; rm -rf $(VENV); exit 2; }
	@echo 'setup: installing ADI and its tools (a few minutes the first time)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo 'setup: done; $(BIN)/adi is ready'

ready: setup
	@echo 'ready: Docker engine, sandbox image and model (made or fetched when missing)'
	@$(BIN)/adi doctor --fix

test: setup postgres browser
	@$(MAKE) --no-print-directory ready || echo 'test: what is missing is skipped, and the reason told'
	@echo 'test: all but the slow ones, $(JOBS) at a time'
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --durations 15

test-slow: setup
	@$(MAKE) --no-print-directory ready || echo 'test-slow: what is missing is skipped, and the reason told'
	@$(BIN)/adi model pull qwen2.5-coder-0.5b || echo 'test-slow: the tests of engine torch on real weights are skipped'
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m 'slow and not languages' --durations 15

test-containment: setup engines postgres
	@$(MAKE) --no-print-directory ready || echo 'test-containment: what is missing is skipped, and the reason told'
	@$(BIN)/adi doctor --fix --images python,node || echo 'test-containment: no image for npm'
	@echo 'test-containment: every case of docs/security.md, the slow ones too'
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m containment --durations 15

# What the tests of other engines need: gVisor, user namespaces, a rootless engine.
engines:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v runsc >/dev/null; then \
		echo 'engines: installing runsc, uidmap and rootlesskit'; \
		apt-get -q update >/dev/null && \
		DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends runsc uidmap rootlesskit >/dev/null \
			|| echo 'engines: not installed, their tests are skipped'; \
	fi

# What the tests of the store on a server need.
postgres:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
		echo 'postgres: installing a server for the tests'; \
		apt-get -q update >/dev/null && \
		DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends postgresql >/dev/null \
			|| echo 'postgres: not installed, its tests are skipped'; \
	fi

# What the tests of the review page need.
browser:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! { command -v chromium && command -v chromedriver; } >/dev/null; then \
		echo 'browser: installing chromium for the tests'; \
		apt-get -q update >/dev/null && \
		DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends chromium chromium-driver >/dev/null \
			|| echo 'browser: not installed, its tests are skipped'; \
	fi

images: setup
	@$(BIN)/adi doctor --fix --images all

test-languages: images
	@echo 'test-languages: seven languages, the slow samples too'
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m languages --durations 10

check: setup
	@echo 'check: format and lint'
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@echo 'check: types'
	@$(BIN)/mypy
	@echo 'check: house rules'
	@$(BIN)/python -m pytest -q tests/test_project_rules.py tests/test_project_install.py

format: setup
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format .

demo: ready
	@echo 'demo: a failing test in a small repository, and ADI'
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

bench: ready
	@test -n '$(DATA)' || { echo 'usage: make bench DATA=<dir of the suites> [SUITE=quixbugs]'; exit 2; }
	@echo 'bench: the agent on $(SUITE) of $(DATA)'
	@$(BIN)/adi eval '$(SUITE)' --data '$(DATA)'

clean:
	@echo 'clean: virtual environment, caches and builds; models, images and the memory stay'
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
