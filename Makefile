# One verb for each thing a person does. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCAN := .cache/scan
BENCH := .cache/bench
JOBS ?= 2
TESTS ?=
ROWS ?=

.PHONY: help run up down image test test-practices test-browser test-sidecars test-container test-manifests test-cluster kind kind-down screenshots conform lint format bench coverage flakes docs lock clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is newer than the lock when the environment holds what the lock says.
$(VENV)/run.stamp: requirements.txt
	@scripts/venv.sh $(PYTHON) $(VENV) requirements.txt $@

$(VENV)/dev.stamp: requirements-dev.txt
	@scripts/venv.sh $(PYTHON) $(VENV) requirements-dev.txt $@

$(SCAN)/scan.stamp: requirements-scan.txt
	@scripts/venv.sh $(PYTHON) $(SCAN) requirements-scan.txt $@

$(BENCH)/bench.stamp: requirements-bench.txt
	@scripts/venv.sh $(PYTHON) $(BENCH) requirements-bench.txt $@

run: $(VENV)/run.stamp ## the service on 127.0.0.1:8080, with nothing else to start; every setting may be given
	@PYTHON=$(BIN)/python exec scripts/run.sh

test: $(VENV)/dev.stamp ## all tests, against real stores (installs them with apt-get where root may); TESTS="-k name"
	@scripts/test-servers.sh
	@$(BIN)/python -m pytest -n $(JOBS) $(TESTS)

test-practices: $(VENV)/dev.stamp ## that the conformance suite is green on the service and red on each broken twin
	@scripts/test-servers.sh
	@$(BIN)/python -m pytest -n $(JOBS) tests/conformance $(TESTS)

test-browser: $(VENV)/dev.stamp ## the page in a real Chromium; screenshots of its states come to .cache/screenshots
	@scripts/test-servers.sh chromium:chromium npm:npm
	@scripts/axe.sh >/dev/null
	@$(BIN)/python -m pytest -n $(JOBS) tests/e2e/browser $(TESTS)

test-sidecars: $(VENV)/dev.stamp ## the log agent and the exporters, beside a real Tomcat (installed where it is missing)
	@scripts/test-servers.sh java:default-jre-headless tomcat10-instance-create:tomcat10-user mvn:maven prometheus-redis-exporter:prometheus-redis-exporter faketime:faketime
	@for kind in httpserver javaagent; do scripts/jmx-exporter.sh $$kind >/dev/null; done
	@$(BIN)/python -m pytest -n $(JOBS) tests/e2e/sidecars $(TESTS)

screenshots: $(VENV)/dev.stamp ## make the pictures of docs/images anew
	@scripts/test-servers.sh chromium:chromium
	@$(BIN)/python -m scripts.screenshots

up: ## everything on this machine with docker compose: two replicas, proxy, Redis, emulator, Prometheus; PROFILES="grafana memcached"
	@scripts/compose.sh up

down: ## end it; VOLUMES=1 removes what it kept, too
	@scripts/compose.sh down

kind: ## the same on a Kubernetes on this machine, made by kind: the manifests of k8s/overlays/kind, with images built here
	@scripts/kind.sh up

kind-down: ## end that
	@scripts/kind.sh down

image: ## build the image with docker, podman or buildah: IMAGE=seatrial:dev, FOLDER=sidecars/log-agent for another
	@scripts/image.sh $(FOLDER)

# One after the other: they measure memory and time. What they measured is printed (-s).
test-container: $(VENV)/dev.stamp ## the image and its confined container, for real; needs root, installs podman where it is missing
	@scripts/test-servers.sh podman:podman buildah:buildah runc:runc debootstrap:debootstrap ip:iproute2 mvn:maven
	@$(BIN)/python -m pytest -s tests/e2e/container $(TESTS)

test-manifests: $(VENV)/dev.stamp $(SCAN)/scan.stamp ## what k8s/ makes: forms, practices, flows, checkov, kube-score; needs no cluster
	@scripts/test-servers.sh
	@$(BIN)/python -m pytest -n $(JOBS) tests/manifests $(TESTS)

# In namespaces of its own, that it removes again. RUNS=20 repeats the load. What was counted is printed (-s).
test-cluster: $(VENV)/dev.stamp ## the manifests on the cluster of `make kind`, deployed, broken and rolled back under load
	@scripts/kind-test.sh $(BIN)/python $(TESTS)

# make hands its command line's variables on in the environment, where the program looks for its options.
conform: ## prove the practices on a running service: BASE_URL=http://localhost:8080 (docs/conformance.md)
	@$(PYTHON) -m conformance

lint: $(VENV)/dev.stamp $(SCAN)/scan.stamp ## ruff, mypy --strict, shellcheck, actionlint, hadolint, checkov, generated documents
	@$(BIN)/ruff check --no-cache # its cache does not see that an imported file has come or gone
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/shellcheck scripts/*.sh tests/e2e/container/*.sh .ci/*
	@$(BIN)/hadolint Dockerfile sidecars/*/Dockerfile
	@$$(scripts/go-tool.sh compose-go) docker-compose.yml >/dev/null # by the compose specification's schema, and more
	@$(SCAN)/bin/checkov --framework dockerfile --file Dockerfile sidecars/*/Dockerfile --quiet --compact --skip-download
	@$$(scripts/go-tool.sh actionlint) -shellcheck $(BIN)/shellcheck
	@$(BIN)/python -m scripts.settings_page --check
	@$(BIN)/python -m scripts.rules --check

format: $(VENV)/dev.stamp ## put the code into ruff's form
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

coverage: $(VENV)/dev.stamp ## the tests with branch coverage of service/
	@scripts/test-servers.sh
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(JOBS) $(TESTS); $(BIN)/coverage combine -q; $(BIN)/coverage report --skip-covered

bench: $(BENCH)/bench.stamp ## what the practices cost, against what one would take instead: ROWS="instance sessions" (bench/README.md)
	@scripts/test-servers.sh wrk:wrk
	@$(BENCH)/bin/python -m bench $(ROWS)

flakes: $(VENV)/dev.stamp ## the tests again and again until one fails: RUNS=20
	@scripts/flakes.sh $${RUNS:-20} $(BIN)/python -m pytest -q -n $(JOBS) $(TESTS)

docs: $(VENV)/dev.stamp ## make the generated documents anew, and the objects that hold the alert rules
	@$(BIN)/python -m scripts.settings_page
	@$(BIN)/python -m scripts.rules

lock: ## renew the lock files: newest versions, hashes of every platform's wheels, no addresses
	@scripts/lock.sh $(PYTHON)

clean: ## remove what was made here, but not your files in data/
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
