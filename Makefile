# What can be done here. `make help` lists it.

.DEFAULT_GOAL := help
.PHONY: help demo bench-index test verify fix

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Serve 1,000 generated ads from a temporary directory
	cargo run --locked --release -- demo

bench-index: ## Measure the index beside every alternative, into docs/performance (N="1000 100000 1000000")
	scripts/bench-index

test: ## Run every test
	cargo test --locked --workspace --quiet

verify: ## Check format, lints, docs and layers; never writes
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	scripts/check-layers

fix: ## Mend what verify finds and can be mended
	cargo fmt --all
	cargo clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged
