# `make help` lists what there is to do.
CARGO ?= cargo
BINDIR ?= $(HOME)/.local/bin
# Built as the tests are, so that what was built for one serves the other.
TESTBED = $(CARGO) run --locked --bin testbed --
# What is measured is what is released.
BENCH = $(CARGO) run --locked --release --bin testbed -- bench

.PHONY: help build demo test soak bench bench-large gen lint image install-cli

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'

build: ## Build every crate
	$(CARGO) build --workspace

demo: ## Upgrade a real mesh under load (root; KEEP=1 leaves it running)
	$(TESTBED) demo $(if $(KEEP),--keep)

test: ## Run every test; what needs root is skipped without it, and said
	./hack/test.sh

soak: ## Tell every story of the planner in a million lives of a cluster (LIVES=)
	MESHLIFT_LIVES=$(or $(LIVES),1000000) $(CARGO) test --locked --release --package meshlift-planner --test sim \
		nothing_that_others_do_harms_an_upgrade -- --nocapture

bench: ## Measure speed and size on a large mesh (root; QUICK=1 to try it)
	$(CARGO) bench --locked --package meshlift-planner --bench pass
	$(BENCH) $(if $(QUICK),--quick)

bench-large: ## The same with thousands of workloads (root; WORKLOADS=, REPLICAS=, CONCURRENT=, STANDING=)
	$(BENCH) --large $(if $(WORKLOADS),--workloads $(WORKLOADS)) $(if $(REPLICAS),--replicas $(REPLICAS)) \
		$(if $(CONCURRENT),--concurrent $(CONCURRENT)) $(if $(STANDING),--standing $(STANDING))

gen: ## Write the generated files: CRDs, RBAC, manifests
	$(CARGO) xtask gen

lint: ## Check format, lints and that the generated files are current
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	$(CARGO) xtask gen --check

image: ## Build the operator's image with docker
	docker build --tag meshlift-operator .

install-cli: ## Install meshlift, also as `kubectl meshlift` (BINDIR, else ~/.local/bin)
	$(CARGO) build --locked --release --package meshlift-cli
	install -D --mode 0755 "$${CARGO_TARGET_DIR:-target}/release/meshlift" "$(BINDIR)/meshlift"
	ln --symbolic --force meshlift "$(BINDIR)/kubectl-meshlift"
