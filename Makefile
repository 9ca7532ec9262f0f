# Every target with one line of help: `make` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# Compilers and checkers need not save memory as daemons do.
hasty := GOGC=400

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

.PHONY: demo
demo: build ## a throwaway pool, a patch of your own, its whole life; leaves nothing behind
	bin/poolpatch demo

.PHONY: test
test: ## everything that must pass; installs what it lacks: Debian packages, an npm package
	@$(MAKE) --no-print-directory -j2 deps checks
	# Not from the cache: the tests in test/ build the binary themselves, which the cache does not see. Vet has been run.
	# The longest come first, and three at once: they wait for daemons more than they compute.
	@$(hasty) go build -race ./internal/... ./xenapi/...
	@$(hasty) go test -exec 'env -u GOGC' -race -vet=off -ldflags=-w -count=1 -timeout 20m -p 3 ./test/... ./...

.PHONY: checks
checks: ## what is known without running anything
	@$(MAKE) --no-print-directory -j1 format vet staticcheck

.PHONY: build
build: ## bin/poolpatch
	go build -trimpath -o bin/poolpatch ./cmd/poolpatch

.PHONY: deps
deps: ## Debian packages, and one of npm with what it needs, that the tests use
	@build/deps

.PHONY: format
format: ## fail when gofmt would change something
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }

.PHONY: vet
vet: ## go vet
	$(hasty) go vet ./...

.PHONY: staticcheck
staticcheck: ## staticcheck, pinned in go.mod
	$(hasty) go tool staticcheck ./...

.PHONY: fuzz
fuzz: ## fuzz the wire codecs, command lines, expressions, the patch file and the join token, a minute each
	go test -run '^$$' -fuzz FuzzXML -fuzztime 60s ./internal/rpc
	go test -run '^$$' -fuzz FuzzJSON -fuzztime 60s ./internal/rpc
	go test -run '^$$' -fuzz FuzzRead -fuzztime 60s ./internal/thincli
	go test -run '^$$' -fuzz FuzzCommandLine -fuzztime 60s ./internal/xe
	go test -run '^$$' -fuzz FuzzExpression -fuzztime 60s ./internal/api
	go test -run '^$$' -fuzz FuzzVerify -fuzztime 60s ./internal/hotfix
	go test -run '^$$' -fuzz FuzzParseToken -fuzztime 60s ./internal/authority

.PHONY: faults
faults: ROUNDS ?= 100
faults: SEED ?= 0
faults: deps ## random faults in a pool of three hosts, many: ROUNDS=100, SEED=0 for one by chance
	go test -race -count=1 -timeout 0 -v -run '^TestFaults$$' ./test/pool -rounds=$(ROUNDS) -seed=$(SEED)

.PHONY: bench
bench: build deps ## measure against gpg, cp and qemu-img, as ratios, and how cost grows with hosts
	go run ./bench
	go run ./bench/pool
	go test -count=1 -run '^$$' -bench 'Spread|Failover' -benchtime 1x ./test/pool
	go test -count=1 -run '^$$' -bench Events -benchtime 200x ./internal/event
	go run ./bench/events

.PHONY: coverage
coverage: ## hold the API against XenAPI's own list of classes: CLASSES=file, EXCEPT=class,class for those that may be missing
	go run ./build/coverage -except '$(EXCEPT)' $(or $(CLASSES),$(error CLASSES=file says where XenAPI's list of classes is))

.PHONY: golden
golden: ## rewrite the golden files; read the difference before you commit it
	go test ./xenapi ./internal/rpc ./internal/api ./internal/patch ./internal/httpd ./cmd/poolpatch -update
