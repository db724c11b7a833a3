# What can be done here. `make help` lists it.

.DEFAULT_GOAL := help
.PHONY: help demo cluster cluster-scale cluster-roll cluster-status k6 load openapi manual test test-compose package test-package bench-index bench-cluster bench-expiry bench-pools bench-autoscale faults planted storm verify fix

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Serve 1,000 generated ads from a temporary directory
	cargo run --locked --release -- demo

cluster: ## Start PostgreSQL, Redis, replicas and HAProxy, until Ctrl-C (REPLICAS=3 PORT=8080 DATA=dir)
	scripts/install-servers haproxy
	@scripts/cluster up

cluster-scale: ## Start or stop replicas of the running cluster (REPLICAS=5)
	@scripts/cluster scale

cluster-roll: ## Restart the running cluster's replicas, one after the other
	@scripts/cluster roll

cluster-status: ## Show the running cluster's processes and replicas
	@scripts/cluster status

k6: ## Load a cluster and leave a report under target/k6 (SCRIPT=query|mixed|spike|soak|scale|reserve REPLICAS=3 ADS=10000)
	@scripts/load k6

load: ## Find the most that the balancer and one replica answer, with wrk (CONNECTIONS=64 DURATION=10s)
	@scripts/load wrk

openapi: ## Write docs/openapi.json again, after the API has changed
	UPDATE=1 cargo test --locked --workspace --lib --quiet the_document_is_the_one_in_docs

manual: ## Write the manual's tables of metrics again, after a metric has changed
	UPDATE=1 cargo test --locked --workspace --test http --test program --quiet the_manual_lists_the_metrics

test: ## Run every test; installs PostgreSQL, Redis, HAProxy, nginx, Caddy and PgBouncer first, if they are missing
	scripts/install-servers haproxy nginx caddy pgbouncer
	cargo test --locked --workspace --quiet
	PLACARD=target/debug/placard scripts/test-cluster
	PLACARD=target/debug/placard scripts/test-backup
	PLACARD=target/debug/placard scripts/test-api
	PLACARD=target/debug/placard scripts/test-client
	PLACARD=target/debug/placard scripts/test-kubernetes
	PLACARD=target/debug/placard scripts/test-compose
	PLACARD=target/debug/placard scripts/test-package

test-compose: ## Run Compose and Swarm on a Docker Engine of its own, as root on Linux (COMPOSE_CACHE=dir for what it makes once)
	scripts/test-compose

package: ## Build in release, and pack a Debian package into target/debian
	scripts/package

test-package: ## Install, use, upgrade and purge the Debian package on a machine in namespaces, as root on Linux
	scripts/test-package

bench-index: ## Measure the index beside every alternative (N="1000 100000 1000000")
	scripts/bench-index

bench-cluster: ## Measure a cluster on private servers; writes docs/performance/cluster.*
	scripts/bench-cluster

bench-expiry: ## Measure what ends cost, on clusters of the release build; writes docs/performance/expiry.* (ADS=1000000)
	scripts/install-servers haproxy
	scripts/bench-expiry

bench-pools: ## Measure pools beside PostgreSQL, Redis and ads; writes docs/performance/pools.* (ADS=1000000 MINUTES=10 SECONDS=5 TURNS=5)
	scripts/install-servers haproxy wrk
	scripts/bench-pools

bench-autoscale: ## Have a cluster sized by its load, under k6's spike; writes docs/performance/autoscale.* (PEAK_RATE=500 PART_SECONDS=75)
	scripts/install-servers haproxy
	scripts/bench-autoscale

faults: ## Run every test of faults and measure stalls and recoveries; writes docs/performance/faults.*
	scripts/install-servers
	scripts/faults

planted: ## Write the table of planted faults in docs/TESTING.md again, after the simulation has changed
	UPDATE=1 cargo test --locked --workspace --test simulation --quiet planted_faults

storm: ## Random faults under load for a while, and a replica that joins at full speed, in release (MINUTES=10 WRITERS=96)
	scripts/install-servers
	PLACARD_FAULT_SECONDS=$$(($(or $(MINUTES),10) * 60)) PLACARD_FAULT_WRITERS=$(or $(WRITERS),96) \
	cargo test --locked --release -p placard --test faults -- storm 5000_writes --nocapture --test-threads=1

verify: ## Check format, lints, docs, layers, imports, paths, prose and what operators are given; never writes to the sources, installs checkers that are missing
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	scripts/check-layers
	scripts/check-imports
	scripts/check-paths
	scripts/check-prose
	scripts/check-operations
	scripts/check-kubernetes

fix: ## Mend what verify finds and can be mended
	cargo fmt --all
	cargo clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged
