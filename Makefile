# Tests. `make test` works on a fresh machine (root; apt and PyPI reachable).
SHELL := /bin/bash
TEST_ENV := .venv-test
PYTHON := $(TEST_ENV)/bin/python
PYTEST := $(PYTHON) -m pytest

.PHONY: test test-unit test-full lint environment clean

# What CI runs: about half an hour on 2 cores.
test: lint
	$(PYTEST) tests/unit tests/deploy/test_life.py tests/guide

test-unit: lint
	$(PYTEST) tests/unit

# All there is: also what takes too long for every change.
test-full: lint
	$(PYTEST) tests

lint: environment
	$(PYTHON) -m ruff check src tests
	$(PYTHON) -m ruff format --check src tests
	$(PYTHON) -m mypy

environment:
	./onestack --environment $(TEST_ENV) requirements-dev.lock

clean:
	rm -rf .venv .venv.lock .venv-test .venv-test.lock .mypy_cache .pytest_cache .ruff_cache
