# What people and machines type here. `make` lists it.
#
#   BUCKET   where the demo keeps its log: a folder, or s3://bucket/prefix (default: a temporary folder)
#   FILTER   what is handed to `cargo test`: a name, or options (default: everything)
#   CASES    how many cases each property test runs in `make fuzz`

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BUCKET ?=
FILTER ?=
CASES ?= 5000
SCRIPTS = $(wildcard .ci/run .ci/test .ci/tools .ci/servers .ci/tools.d/*.sh)

.PHONY: help demo test lint bench fuzz fmt tools

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-6s %s\n", $$1, $$2}' Makefile
	@echo
	@sed -n 's/^#   /  /p' Makefile

demo: ## Three nodes in one terminal: writes, the leader is killed, nothing is lost
	cargo run --quiet --package haqlite --example demo -- $(if $(BUCKET),'$(BUCKET)')

test: ## All tests, against real servers that are installed and started for them
	bash .ci/test $(FILTER)

lint: ## Format, clippy, documentation and scripts; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features haqlite/cli,haqlite/etcd,haqlite/nats -- -D warnings
	cargo clippy --workspace --all-targets --no-default-features -- -D warnings
	cargo clippy --package haqlite --no-default-features --features cli,testing -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features haqlite/cli,haqlite/etcd,haqlite/nats
	for script in $(SCRIPTS); do bash -n "$$script"; done
	if command -v shellcheck >/dev/null; then shellcheck --shell=bash --exclude=SC2154 $(SCRIPTS); fi

bench: ## The benchmarks, optimised
	cargo bench --package haqlite --no-default-features
	bash .ci/test --release --bench failover

fuzz: ## The tests with CASES cases for each property and simulation; FILTER narrows them
	PROPTEST_CASES=$(CASES) bash .ci/test $(FILTER)

fmt: ## Format the code
	cargo fmt --all

tools: ## Install what the tests need, outside of this folder
	bash .ci/tools
