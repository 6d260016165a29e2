# `make` prints what there is to do. Every version is pinned in a go.mod: the
# root's, or that of a folder in hack.
SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help

# What is stamped into a build.
VERSION ?= v0.1.0
IMG ?= ghcr.io/sgp-operator/sgp-operator:v0.1.0
DOCKER ?= docker
FUZZTIME ?= 10s
TEST_TIMEOUT ?= 10m
# What the chaos follows from; 0 chooses one, and prints it.
SEED ?= 0
CHAOS_ARGS ?=
# How many disturbances an exploration combines, and how many random walks follow.
DISTURBANCES ?= 3
WALKS ?= 2000
EXPLORED = ./controllers/securitygrouppolicy
# Where the tests of observability draw what the dashboard shows; nowhere by default.
PICTURE ?=
# Which micro-benchmarks, and how often each.
BENCH ?= .
COUNT ?= 6
# Further words for go test, for example TESTFLAGS='-run TestDrift -v'.
TESTFLAGS ?=
PKG ?= ./...

# Expanded only where a recipe uses them, so that `make help` builds nothing.
CONTROLPLANE = hack/controlplane/ensure.sh
CONTROLLER_GEN = $$(hack/tools/ensure.sh controller-gen)
CRD_REF_DOCS = $$(hack/tools/ensure.sh crd-ref-docs)
GOLANGCI_LINT = $$(hack/tools/ensure.sh golangci-lint)
# kubectl of the caller if there is one, else the one that goes with the tests.
KUBECTL = $$(command -v kubectl || echo "$$($(CONTROLPLANE))/kubectl")

# Not hack/gitops/flux and hack/gitops/flux/sources: go mod tidy asks for tests of Flux's
# dependencies, and for modules that no registry has.
MODULES = . hack/bench hack/helm hack/image hack/observability hack/tools hack/lint hack/krew/validate hack/controlplane hack/controlplane/oldest hack/gitops/states hack/gitops/argocd

.PHONY: help
help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

##@ Try

.PHONY: demo
demo: ## Bring up API server, simulator and manager, and take a tour (DEMO_ONCE=1: leave after it)
	@exec hack/demo/run.sh

##@ Develop

.PHONY: generate
generate: ## Write the deepcopy functions of api/
	set -e; gen=$(CONTROLLER_GEN); "$$gen" object paths=./api/...

.PHONY: manifests
manifests: ## Write config/crd/bases from api/, config/rbac/role.yaml from the markers in controllers/, and what the chart has of both
	set -e; gen=$(CONTROLLER_GEN); rm -f config/crd/bases/*.yaml; \
	"$$gen" crd paths=./api/... output:crd:artifacts:config=config/crd/bases; \
	go run ./hack/closed config/crd/bases/ecs.alibabacloud.com_ecsaccounts.yaml; \
	"$$gen" rbac:roleName=sgp-manager paths=./controllers/... output:rbac:artifacts:config=config/rbac; \
	hack/chart.sh

.PHONY: dashboards
dashboards: ## Write config/prometheus: the PrometheusRule from rules.yaml, the dashboard from hack/observability
	cd hack/observability && go run . -root ../..

.PHONY: states
states: ## Write every state as the API server returns it, and what follows: Argo CD's files, and the table of docs/gitops.md
	set -e; assets=$$($(CONTROLPLANE)); KUBEBUILDER_ASSETS="$$assets" go test -count=1 -run 'TestEveryState' ./internal/operator -update
	cd hack/gitops/states && go test -count=1 . -update

.PHONY: docs
docs: ## Write docs/reference: the API by crd-ref-docs, flags, metrics, events, reasons and error codes by hack/docs
	set -e; docs=$(CRD_REF_DOCS); "$$docs" --source-path=api --config=hack/docs/crd-ref-docs.yaml --templates-dir=hack/docs/templates \
	  --renderer=markdown --output-path=docs/reference/api.md --max-depth=10 --log-level=ERROR; \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; go build -o "$$work/manager" .; go run ./hack/docs -manager "$$work/manager"

.PHONY: fmt
fmt: ## Format the Go code
	gofmt -s -w *.go api controllers hack internal

.PHONY: tidy
tidy: ## Bring every go.mod and go.sum up to date
	set -e; for m in $(MODULES); do (cd "$$m" && go mod tidy); done

.PHONY: build
build: ## Build bin/manager
	CGO_ENABLED=0 go build -trimpath -ldflags='-X github.com/sgp-operator/sgp-operator/internal/version.stamped=$(VERSION)' -o bin/manager .

.PHONY: plugin
plugin: build ## Build bin/kubectl-alicloud_sgp, the manager as a kubectl plugin, and its completion: put bin on your PATH
	ln -f bin/manager bin/kubectl-alicloud_sgp
	cp hack/krew/kubectl_complete-alicloud_sgp bin/

.PHONY: krew
krew: ## Write bin/alicloud-sgp.yaml, the plugin's manifest for Krew (VERSION=v0.1.0 ARCHIVES=folder of the release)
	set -e; validate=$$(hack/tools/ensure.sh validate-krew-manifest); mkdir -p bin; \
	go run ./hack/krew --version '$(VERSION)' --archives '$(ARCHIVES)' >bin/alicloud-sgp.yaml; \
	"$$validate" -skip-install -manifest bin/alicloud-sgp.yaml

.PHONY: run
run: ## Run the manager here, against the cluster of your kubeconfig (ARGS='--ecs-qps 5')
	go run . --metrics-bind-address 0 $(ARGS)

.PHONY: clean
clean: ## Remove what the other targets build here
	rm -rf bin

##@ Check

.PHONY: test
test: ## Run every test, with the race detector and in shuffled order
	set -e -o pipefail; assets=$$($(CONTROLPLANE)); \
	report=$$(mktemp); trap 'rm -f "$$report"' EXIT; \
	KUBEBUILDER_ASSETS="$$assets" TEST_REPORT="$$report" go test -race -shuffle=on -timeout $(TEST_TIMEOUT) $(TESTFLAGS) $(PKG); \
	sort "$$report"
	GOGC=400 go test -count=1 -timeout $(TEST_TIMEOUT) -run Explore $(EXPLORED)
	cd hack/gitops/states && go test -count=1 -shuffle=on .

.PHONY: test-oldest
test-oldest: ## Run the suites against the oldest Kubernetes that is supported (builds its API server once: five minutes)
	set -e; assets=$$(hack/controlplane/oldest.sh); \
	KUBEBUILDER_ASSETS="$$assets" go test -count=1 -timeout $(TEST_TIMEOUT) ./internal/operator . $(TESTFLAGS)

.PHONY: helm
helm: ## Test the chart with Helm 4 and 3: what it renders, installs, upgrades and leaves behind
	set -e; export KUBEBUILDER_ASSETS="$$($(CONTROLPLANE))"; \
	cd hack/helm && go test -count=1 -shuffle=on -timeout $(TEST_TIMEOUT) $(TESTFLAGS) ./...

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME each
	hack/tools/fuzz.sh $(FUZZTIME)

.PHONY: explore
explore: ## Visit every state of the reconciler that DISTURBANCES=3 combined can lead to, then walk at random (SEED=7 WALKS=5000)
	GOGC=400 go test -count=1 -timeout 10h -v -run Explore $(EXPLORED) -explore.disturbances $(DISTURBANCES) \
	  -explore.states 20000000 -explore.walks $(WALKS) -explore.seed $(SEED)

.PHONY: mutants
mutants: ## Put mistakes back one at a time, and show that each is found, about ten minutes
	go run ./hack/mutants
	set -e; gremlins=$$(hack/tools/ensure.sh gremlins); \
	for p in ./internal/policy ./internal/claims ./internal/isolation; do "$$gremlins" unleash "$$p" --workers 1 --timeout-coefficient 20 --threshold-efficacy 95; done

.PHONY: chaos
chaos: ## Let everything go wrong at once for three minutes (SEED=7 to replay, CHAOS_ARGS='--resources 60'), then one of ten tenants
	set -e; export KUBEBUILDER_ASSETS="$$($(CONTROLPLANE))"; \
	go run ./hack/chaos --resources 300 --duration 3m --seed $(SEED) $(CHAOS_ARGS); \
	go run ./hack/tenants

# Built here and run from the root, whose manager it builds and measures.
.PHONY: bench
bench: ## Measure speed and cost for N = 1,000 and 10,000, about 14 minutes (BENCH_ARGS='--n 1000')
	set -e; assets=$$($(CONTROLPLANE)); \
	(cd hack/bench && go build -o ../../bin/bench .); \
	KUBEBUILDER_ASSETS="$$assets" exec bin/bench $(BENCH_ARGS)

.PHONY: gitops
gitops: ## Run Argo CD's own Lua machine over every state, and Flux's controller against the operator (builds both once: six minutes)
	@echo "gitops: Argo CD's Lua machine, which takes about three minutes to build, once"
	cd hack/gitops/argocd && go test -count=1 .
	set -e; export KUBEBUILDER_ASSETS="$$($(CONTROLPLANE))"; flux=$$(hack/tools/ensure.sh kustomize-controller); \
	go run ./hack/gitops --kustomize-controller "$$flux"

.PHONY: bench-against
bench-against: ## Compare what converging costs with the manager of commit REF, alternately (REF=0f7c173 BENCH_ARGS='--n 1000 --rounds 5')
	set -e; assets=$$($(CONTROLPLANE)); \
	(cd hack/bench && go build -o ../../bin/bench .); \
	KUBEBUILDER_ASSETS="$$assets" exec hack/bench/against.sh '$(REF)' $(BENCH_ARGS)

.PHONY: bench-import
bench-import: ## Measure the throughput and memory of manager import, about two minutes; writes docs/benchmarks/import.md
	(cd hack/bench && go build -o ../../bin/bench .); exec bin/bench --import $(BENCH_ARGS)

.PHONY: bench-micro
bench-micro: ## Measure time and allocations of a call, a turn and a pass, under two minutes (BENCH=Observe COUNT=10)
	hack/bench/micro.sh '$(BENCH)' '$(COUNT)'

.PHONY: image-test
image-test: ## Build the image twice, push and pull it, and run it with umoci and runc, three minutes
	set -e; export KUBEBUILDER_ASSETS="$$($(CONTROLPLANE))"; cd hack/image && go test -count=1 -timeout $(TEST_TIMEOUT) .

# The tests build and run a manager, and a Prometheus scrapes it.
.PHONY: observability
observability: ## Hold alerts and dashboard against a manager at work and a real Prometheus, three minutes (PICTURE=docs/dashboard.svg)
	set -e; export KUBEBUILDER_ASSETS="$$($(CONTROLPLANE))"; cd hack/observability && go test -count=1 -timeout $(TEST_TIMEOUT) . $(PICTURE:%=-picture ../../%)

.PHONY: lint
lint: ## Run golangci-lint
	set -e; lint=$(GOLANGCI_LINT); "$$lint" run ./...

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in what the code calls (asks vuln.go.dev; fails if it cannot)
	hack/tools/vulncheck.sh

.PHONY: verify
verify: ## Check that generated files, formatting and go.mod are current
	hack/verify.sh

##@ Release

.PHONY: release
release: ## Write what a release consists of into bin/release/VERSION, and publish nothing (VERSION=v0.1.0)
	set -e; sbom=$$(hack/tools/ensure.sh cyclonedx-gomod); validate=$$(hack/tools/ensure.sh validate-krew-manifest); \
	go run ./hack/release --version '$(VERSION)' --cyclonedx-gomod "$$sbom" --validate-krew-manifest "$$validate"

.PHONY: release-test
release-test: ## Make a release of two platforms twice, in two folders, compare and use it, a minute (five the first time)
	set -e; sbom=$$(hack/tools/ensure.sh cyclonedx-gomod); validate=$$(hack/tools/ensure.sh validate-krew-manifest); \
	go test -count=1 -timeout 30m ./hack/release -cyclonedx-gomod "$$sbom" -validate-krew-manifest "$$validate"

##@ Deploy

.PHONY: image
image: ## Build the image without a container engine: bin/image, an OCI layout and a tarball for each platform (VERSION=v0.1.0)
	cd hack/image && go run . -root ../.. -out ../../bin/image -version '$(VERSION)'

.PHONY: docker-build
docker-build: ## Build the image IMG
	$(DOCKER) build -t $(IMG) --build-arg VERSION='$(VERSION)' .

.PHONY: install
install: ## Install the CRDs alone
	k=$(KUBECTL); "$$k" apply -k config/crd

.PHONY: deploy
deploy: ## Install everything, with the image IMG, into the namespace sgp-system
	set -e -o pipefail; k=$(KUBECTL); "$$k" kustomize config/default | \
	sed 's|image: ghcr.io/sgp-operator/sgp-operator:.*|image: $(IMG)|' | "$$k" apply -f -; \
	"$$k" wait --for=condition=Established --timeout=1m crd/ecsaccounts.ecs.alibabacloud.com; \
	"$$k" apply -k config/account

.PHONY: undeploy
# The policies go first, while there is a manager to put original values back.
undeploy: ## Remove everything, the policies included
	set -e; k=$(KUBECTL); \
	if "$$k" get crd securitygrouppolicies.ecs.alibabacloud.com >/dev/null; then \
	  "$$k" delete securitygrouppolicies.ecs.alibabacloud.com --all --all-namespaces; fi; \
	"$$k" delete -k config/default --ignore-not-found
