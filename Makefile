# Tests. `make test` works on a fresh machine (root; apt and PyPI reachable).
SHELL := /bin/bash
TEST_ENV := .venv-test
PYTHON := $(TEST_ENV)/bin/python
PYTEST := $(PYTHON) -m pytest
# They wait more than they reckon; what a file's tests share stays in one process.
UNIT := $(PYTEST) --numprocesses 3 --dist loadfile tests/unit
# From there on a test that is skipped has failed.
COMPLETE := ONESTACK_TESTS_COMPLETE=y
# Services whose tests fit into every change; all are in test-full.
SERVICES := $(addprefix tests/services/,test_chrony.py test_heat.py test_horizon.py \
	test_provision.py test_readme.py test_swift.py test_links.py test_secrecy.py)
DEPLOY := tests/deploy/test_two_clouds.py tests/deploy/test_changes.py
DONE := tests/deploy/test_life.py $(DEPLOY) $(SERVICES)
# Guests that services start: minutes for each boot without KVM.
GUESTS := tests/guests tests/services/test_octavia_amphora.py tests/services/test_trove_guests.py \
	tests/services/test_sahara_spark.py
# Upstream's tests: of all APIs, and of balancers and databases that are guests.
HOURS := $(addprefix tests/tempest/,test_api.py test_balancers.py test_guests.py)

.PHONY: test test-unit test-full test-guests test-clients test-hosts test-conformance test-server lint prepare \
	environment clean

# What CI runs, within an hour on 2 cores. A cloud's life comes first: on a fresh
# machine it is what installs the packages. What the others need is then prepared.
test: lint
	$(PYTEST) tests/deploy/test_life.py
	$(MAKE) prepare
	$(COMPLETE) $(UNIT)
	$(COMPLETE) $(PYTEST) $(DEPLOY) tests/guide $(SERVICES)

test-unit: lint prepare
	$(COMPLETE) $(UNIT)

# All there is but what takes hours: the five below.
test-full: test
	$(COMPLETE) $(PYTEST) tests/deploy tests/services tests/tempest \
		$(foreach one,$(DONE) $(GUESTS) $(HOURS),--ignore $(one))

# Databases, balancers and clusters that are guests. `-s`: they say how long each step took.
test-guests: prepare
	$(COMPLETE) $(PYTEST) -s $(GUESTS)

# Programs that others wrote against OpenStack: openstacksdk, the clients, Ansible, gophercloud.
test-clients: prepare
	$(COMPLETE) $(PYTEST) -s tests/clients

# A second machine joins: hosts of namespaces, on this one.
test-hosts: prepare
	$(COMPLETE) $(PYTEST) -s tests/hosts

# All APIs in one layout of the network: ONESTACK_TEST_AGENT=ovn or openvswitch.
test-conformance: prepare
	$(COMPLETE) $(PYTEST) -s $(HOURS)

# An ordinary server, where systemd runs the machine: in a container, then in a guest
# with a kernel of its own. The guest's part takes an hour and more without KVM.
test-server: prepare
	$(PYTEST) -s tests/server

lint: environment
	$(PYTHON) -m ruff check src tests bench bench/run bench/services bench/conformance
	$(PYTHON) -m ruff format --check src tests bench bench/run bench/services bench/conformance
	$(PYTHON) -m mypy

# Packages and the release, for tests that do not bring up a cloud.
prepare: environment
	PYTHONPATH=src:. $(PYTHON) -m tests.support.prepare

environment:
	./onestack --environment $(TEST_ENV) requirements-dev.lock

clean:
	rm -rf .venv .venv.lock .venv-test .venv-test.lock .venv-clients .venv-clients.lock .mypy_cache .pytest_cache .ruff_cache
