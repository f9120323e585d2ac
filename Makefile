# Everything a person does with this tree. Long work is in scripts/; tool settings in pyproject.toml.
.DEFAULT_GOAL := help
.PHONY: help setup run check test lint format docs lock bench clean
BIN := .venv/bin

help: ## this list
	@echo 'otel-ebpf: spans and metrics for every request on this machine, without touching the applications.'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'First time:   sudo make run                        watch everything that speaks HTTP here; Ctrl-C ends it'
	@echo "One service:  sudo make run ARGS='--port 8080'     all of run's options: $(BIN)/otel-ebpf run --help"
	@echo 'To a backend: sudo OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 make run'

setup: ## packages, .venv, native core: leaves .venv/bin/otel-ebpf (again: a second)
	@scripts/setup.sh

run: setup ## sets up, then shows every request live (as root; ARGS='...' goes to otel-ebpf run)
	@exec $(BIN)/otel-ebpf run $(ARGS)

check: setup ## sets up, then says what this machine can do and what it lacks
	@$(BIN)/otel-ebpf check $(ARGS)

test: ## sets up, then every linter and every test (as root; ARGS='...' goes to pytest)
	@scripts/setup.sh --test
	@scripts/test.sh $(ARGS)

lint: ## only the linters and type checkers
	@scripts/setup.sh --test
	@scripts/test.sh --lint-only

format: ## formats Python and Rust in place
	@scripts/setup.sh --test
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	cargo fmt --manifest-path src/native/Cargo.toml

docs: ## renews what docs/configuration.md and the JSON schema say of the code
	@scripts/setup.sh --test
	$(BIN)/python scripts/docs.py

lock: ## renews requirements.lock from what pyproject.toml allows today
	scripts/lock.sh

bench: ## throughput, latency, cost per request, with and without the agent (as root)
	@scripts/setup.sh --test
	$(BIN)/python -m tests.bench $(ARGS)

clean: ## removes what was built, .venv included
	rm -rf .venv dist src/native/target src/otel_ebpf/_native*.so .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
