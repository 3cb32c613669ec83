# Everything that is started by hand. `make` alone lists the targets.

CARGO ?= cargo
PORT ?= 8080
PRIVATE_PORT ?= 9090
# seconds for each fuzz target
FUZZ_SECONDS ?= 180
OUT ?= out
# servers measured beside the gateway, NAME[:DIALECT]=COMMAND; empty for none
PEERS ?= --peer uws=bench/peers/uws.mjs --peer ws=bench/peers/ws.mjs --peer socketio:socket-io=bench/peers/socketio.mjs \
  --peer nats:nats=bench/peers/nats.sh --peer nchan:nchan=bench/peers/nchan.sh

.DEFAULT_GOAL := help
.PHONY: help run test bench bench-full bench-build bench-keep bench-report conformance fuzz coverage counts counts-renew nanoseconds browser cluster chaos packaging

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## a gateway to try out, with a demo page (unoptimised build: for looking, not for measuring)
	$(CARGO) run --locked -p portcullis-gateway -- dev --port $(PORT) --private-port $(PRIVATE_PORT)

test: ## everything that decides whether a change is good: format, lints, tests, protocol suite, browser
	scripts/test.sh

bench: bench-build ## the measured figures beside their budgets, into out/bench.md (release build; some ten minutes after it)
	target/release/portcullis-bench run --gateway target/release/portcullis-gateway --out $(OUT)/bench.jsonl $(PEERS) $(BENCH)
	@echo "see $(OUT)/bench.md"

bench-full: ## the same at length, seven rounds of what is compared (some forty minutes)
	$(MAKE) bench BENCH="--full $(BENCH)"

bench-build:
	$(CARGO) build --locked --release -p portcullis-gateway -p portcullis-bench
	scripts/bench-peers.sh

bench-keep: ## the figures of $(OUT)/bench.jsonl into the documents: README, docs/BENCHMARKS.md, docs/CAPACITY.md, gatectl
	target/release/portcullis-bench report --keep $(OUT)/bench.jsonl

bench-report: ## the documents once more from the kept figures, docs/bench/latest.jsonl
	$(CARGO) run --locked -p portcullis-bench -- report

conformance: ## every Autobahn case of sections 1-7 and 10, and the store's conformance suite
	scripts/conformance.sh

fuzz: ## every fuzz target for FUZZ_SECONDS each (needs the nightly toolchain and cargo-fuzz; TARGETS="html path" for a choice)
	scripts/fuzz.sh $(FUZZ_SECONDS) $(TARGETS)

coverage: ## which regions of each parser the tests reach; fails below 90 % (SHOW=1 lists what they do not)
	scripts/coverage.sh

counts: ## instructions of the message and fan-out paths; fails where one changed by more than 5 %
	scripts/counts.sh

counts-renew: ## the same, and keeps the new numbers
	scripts/counts.sh --renew

nanoseconds: ## a message of 300 bytes stage by stage; fails above 2 µs and 3 times the bare decode
	$(CARGO) build --locked --release -p portcullis-count
	target/release/portcullis-count time

chaos: ## the proofs of which make test runs a selection, at full length (half an hour; STAGES="order cap" for a choice)
	scripts/chaos.sh

browser: ## the demo page in a real Chromium
	$(CARGO) build --locked -p portcullis-gateway
	scripts/browser.sh

cluster: ## Redis, two gateways and a coordinator on this machine, until Ctrl-C
	$(CARGO) build --locked -p portcullis-gateway -p portcullis-coordinator
	scripts/cluster.sh

packaging: ## checks of the image, docker-compose.yml and the Helm chart, without a container engine
	$(CARGO) build --locked -p portcullis-gateway -p portcullis-coordinator
	scripts/deploy-check.sh
