# Satreel. `make help` lists what there is; `make run` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
PACKAGES := mesh topology services graphql_gateway sandbox verifier viewer tools tests bench clients/python

.DEFAULT_GOAL := help
.PHONY: help setup proto lock run mesh demo test test-mesh conformance federation-check simulate check client protos-wheel release-protos k8s-check k8s-lint image-check observability-check bench-smoke bench-ledger bench-chain bench-gateway bench-mesh format clean

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

setup: proto ## virtual environment, pinned dependencies, generated code, node binary, files of GraphiQL and of REST's page
	@$(BIN)/python tools/graphiql.py
	@$(BIN)/python tools/openapi_page.py
	@$(BIN)/python -m sandbox.binaries

# A registry that is slow, or fails, is asked again: by pip for each file, and all in all.
export PIP_RETRIES ?= 10
export PIP_DEFAULT_TIMEOUT ?= 60
THRICE = for try in 1 2 3; do $(1) && exit 0; sleep 5; done; exit 1

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing pinned dependencies"
	@$(call THRICE,$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

proto: $(STAMP) ## generate gen/ from protos/
	@$(BIN)/python tools/protogen.py

COMPILE := uv pip compile pyproject.toml --generate-hashes --python-version 3.11 --no-emit-index-url --no-annotate --no-header --quiet
lock: ## pin all dependencies with hashes into requirements.txt, and those of images into requirements-runtime.txt (needs uv)
	$(COMPILE) --extra dev --output-file requirements.txt
	$(COMPILE) --constraint requirements.txt --output-file requirements-runtime.txt
	printf "kubernetes-validate\nhadolint-bin\n" | $(subst pyproject.toml,-,$(COMPILE)) --output-file k8s/requirements-check.txt
	echo checkov | $(subst pyproject.toml,-,$(COMPILE)) --output-file k8s/requirements-checkov.txt

run: setup ## the whole mesh and endless demo rounds, until Ctrl-C
	@$(BIN)/python -m sandbox run

mesh: setup ## as make run, but two of every service and of the gateway, each behind a sidecar (Envoy), mTLS among them
	@$(BIN)/python -m sandbox run --replicas 2 --sidecars true

demo: setup ## one round in a mesh of its own, then a report; fails if a check does
	@$(BIN)/python -m sandbox demo

test: setup ## all tests, those of whole meshes last, one by one, then conformance
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --ignore tests/e2e --ignore tests/edge --ignore tests/federation --ignore tests/replicas
	@$(BIN)/python -m pytest -q tests/e2e tests/edge tests/federation
	@$(BIN)/python -m tests.conformance

test-mesh: setup ## replicas of everything killed, stopped and rolled under load, with sidecars: a table (10 minutes)
	@$(BIN)/python -m pytest -q -s tests/replicas

conformance: setup ## the gateway judged by public suites and clients (npm): a table
	@$(BIN)/python -m tests.conformance

federation-check: setup ## the gateway's domains as subgraphs, under Apollo's composition and a router (npm), beside the gateway
	@$(BIN)/python -m pytest -q tests/federation tests/gateway/test_federation.py

simulate: setup ## the ledger under simulated faults, 10000 runs of them; SEEDS=200 for fewer, SEED=n for one again
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),10000) --jobs $(or $(JOBS),2) $(if $(SEED),--seed $(SEED) --trace)

check: proto ## formatting, lint, types, imports, contracts, schema
	@$(BIN)/ruff format --check --quiet $(PACKAGES)
	@$(BIN)/ruff check --quiet $(PACKAGES)
	@$(BIN)/mypy --no-error-summary $(PACKAGES)
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.buf_lint
	@$(BIN)/python -m graphql_gateway.schema --check
	@$(BIN)/python -m topology --check
	@$(BIN)/python -m tools.metrics --check

client: setup ## the TypeScript client of the gateway, packed for npm, and the manifest of its documents, into dist/
	@$(BIN)/python -m tools.client

protos-wheel: $(STAMP) ## typed stubs of the contracts for teams that call services (docs/CALLING.md), a wheel in dist/
	@$(BIN)/python -m tools.protos_wheel

release-protos: $(STAMP) ## keep the contracts as released, under a new version: nothing in them may break callers from then on
	@$(BIN)/python -m tools.released

bench-smoke: setup ## time to the first round once set up, memory, block to browser, jobs a minute
	@$(BIN)/python -m bench.smoke
	@$(BIN)/python -m bench.jobs

bench-ledger: setup ## the ledger beside its targets, two updates per transfer and PostgreSQL (8 minutes; writes docs/PERFORMANCE.md)
	@$(BIN)/python -m bench.ledger

bench-chain: setup ## payments built and signed, blocks, proofs and signatures checked, beside bsv-sdk; the node (a minute; writes docs/PERFORMANCE.md)
	@$(BIN)/python -m bench.chain

bench-gateway: setup ## the gateway beside stock Strawberry, Mercurius and graphql-ws (npm): requests and subscriptions (10 minutes; writes docs/PERFORMANCE.md)
	@$(BIN)/python -m bench.gateway

bench-mesh: setup ## what edge, sidecars and traces add to a call (5 minutes; writes docs/PERFORMANCE.md)
	@$(BIN)/python -m bench.mesh

k8s-check: proto k8s-lint ## the manifests: do they render, keep to the schemas and policies, fit together, and fit the programs
	@$(BIN)/python -m pytest -q tests/k8s

# Checkers of manifests, in environments of their own: nothing else needs them, and they are large.
K8S_TOOLS := .satreel/k8s
$(K8S_TOOLS)/%/.ready: k8s/requirements-%.txt
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(call THRICE,$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<)
	@touch $@

K8S_RENDERED := $(patsubst k8s/overlays/%/kustomization.yaml,%,$(wildcard k8s/overlays/*/kustomization.yaml k8s/overlays/*/*/kustomization.yaml))
k8s-lint: $(STAMP) $(K8S_TOOLS)/check/.ready $(K8S_TOOLS)/checkov/.ready ## the manifests by strict schemas and by checkov, the Dockerfile by hadolint (its first run installs them)
	@$(K8S_TOOLS)/check/bin/python tools/k8s_schemas.py $(BIN)/kubectl
	@$(K8S_TOOLS)/check/bin/hadolint Dockerfile
	@mkdir -p $(K8S_TOOLS)/rendered
	@for overlay in $(K8S_RENDERED); do $(BIN)/kubectl kustomize k8s/overlays/$$overlay > $(K8S_TOOLS)/rendered/$$(echo $$overlay | tr / -).yaml || exit 1; done
	@$(K8S_TOOLS)/checkov/bin/checkov --config-file k8s/checkov.yaml --directory $(K8S_TOOLS)/rendered

image-check: proto ## the Dockerfile's steps without a container engine, and each program started from what they make (some minutes)
	@$(BIN)/python -m tools.dockerfile

observability-check: setup ## alerts and their cases, by promtool; a played round in a real Prometheus: what dashboards and alerts ask is answered
	@$(BIN)/python -m tools.promtool
	@$(BIN)/python -m pytest -q -k "not promtool" tests/observability
	@$(BIN)/python -m pytest -q tests/observability/check_prometheus.py

format: proto ## format and mend what can be mended
	@$(BIN)/ruff format --quiet $(PACKAGES)
	@$(BIN)/ruff check --fix --quiet $(PACKAGES)

clean: ## remove generated code, caches and local data (keeps .venv)
	rm -rf gen dist clients/typescript/dist clients/typescript/build clients/typescript/src/generated .satreel .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
