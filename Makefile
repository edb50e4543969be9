# Tests. `make test` works on a fresh machine (root; apt and PyPI reachable).
SHELL := /bin/bash
TEST_ENV := .venv-test
PYTHON := $(TEST_ENV)/bin/python
PYTEST := $(PYTHON) -m pytest
# From there on a test that is skipped has failed.
COMPLETE := ONESTACK_TESTS_COMPLETE=y

.PHONY: test test-unit test-full lint prepare environment clean

# What CI runs. A cloud's life comes first: on a fresh machine it is what
# installs the packages. What the other tests need besides is then prepared.
test: lint
	$(PYTEST) tests/deploy/test_life.py
	$(MAKE) prepare
	$(COMPLETE) $(PYTEST) tests/unit tests/deploy/test_two_clouds.py tests/deploy/test_host.py tests/guide tests/services

test-unit: lint prepare
	$(COMPLETE) $(PYTEST) tests/unit

# All there is: also what takes too long for every change.
test-full: test
	$(COMPLETE) $(PYTEST) tests/deploy --ignore tests/deploy/test_life.py

lint: environment
	$(PYTHON) -m ruff check src tests
	$(PYTHON) -m ruff format --check src tests
	$(PYTHON) -m mypy

# Packages and the release, for tests that do not bring up a cloud.
prepare: environment
	PYTHONPATH=src:. $(PYTHON) -m tests.support.prepare

environment:
	./onestack --environment $(TEST_ENV) requirements-dev.lock

clean:
	rm -rf .venv .venv.lock .venv-test .venv-test.lock .mypy_cache .pytest_cache .ruff_cache
