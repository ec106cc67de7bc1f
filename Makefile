# Each target has one line of help: make help

.DEFAULT_GOAL := help
GO       ?= go
N        ?= 20
T        ?= 1m
PLATFORM ?= command
ROW      ?= .
PAIRS    ?= 5
BIN      ?= bin/belay
export CGO_ENABLED ?= 0

# What talks to clouds and clusters is large and waits for the network: without
# inlining there the binary is 5 MB smaller.
LEAN = $(foreach module,k8s.io sigs.k8s.io github.com/aws github.com/Azure github.com/AzureAD github.com/hashicorp \
	github.com/google github.com/pb33f github.com/antlr4-go,-gcflags=$(module)/...=-l)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

build: ## the binary, as ./bin/belay
	$(GO) build -trimpath -ldflags "-s -w" $(LEAN) -o $(BIN) ./cmd/belay

demo: build ## one real incident on this machine, from release to review; PLATFORM=kubernetes: in real pods
	./bin/belay demo --once --no-browser --platform $(PLATFORM)

kubernetes: ## the control plane that tests and the demo start: built once, about ten minutes of CPU
	$(GO) run ./scripts/kubernetes

test: ## the whole suite with the race detector, installing or naming what it needs
	./scripts/test-deps
	@test "$$BELAY_TEST_REQUIRE" != all || $(MAKE) kubernetes
	CGO_ENABLED=1 $(GO) build -race ./... # first, so that no test runs beside the compiling of the most of it
	{ CGO_ENABLED=1 $(GO) test -race -timeout 20m -json ./...; \
	  $(GO) test -json -run Reload ./collector ./pipeline; } | $(GO) run ./scripts/testcount

lint: bin/golangci-lint ## formatters, golangci-lint, import laws
	bin/golangci-lint fmt --diff
	bin/golangci-lint run
	$(GO) test -count=1 -run 'TestLaws|TestDocs' .

bin/golangci-lint: tools/go.mod tools/go.sum
	$(GO) build -C tools -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

scores: ## detectors on the labelled data: NAME METRIC VALUE DEMAND reached|not
	$(GO) run ./scores

vulncheck: bin/govulncheck ## govulncheck; says "not checked" where its database cannot be reached
	@bin/govulncheck ./... || { test $$? -eq 3 && exit 1; echo "not checked"; }

bin/govulncheck: tools/go.mod tools/go.sum
	$(GO) build -C tools -o ../bin/govulncheck golang.org/x/vuln/cmd/govulncheck

crash: build ## kill -9 at N random moments of the demo; the loop must close each time
	./bin/belay demo crash --n $(N) --platform $(PLATFORM)

conformance: ## every platform and each test of the conformance suite
	$(GO) run ./scripts/conformance

fuzz: ## each fuzz target for T
	./scripts/fuzz $(T)

bench: ## the Go benchmarks, collecting beside Prometheus, and the table of targets; ROW=REGEXP for some, PAIRS=N
	{ $(GO) test -run '^$$' -bench '$(ROW)' -benchmem $$($(GO) list ./... | grep -v /bench); \
	  BELAY_BENCH_PAIRS=$(PAIRS) $(GO) test -run '^$$' -bench '$(ROW)' -benchtime 1x -timeout 30m -v ./bench; } | $(GO) run ./scripts/benchtable

.PHONY: help build demo kubernetes test lint scores vulncheck crash fuzz bench conformance
