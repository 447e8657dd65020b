# The two commands that do everything are `make pipeline` and `make test`.

PIPELINE ?= pipelines/demo.yaml
# One profile for everything: the heavy dependencies are compiled once.
CARGO_FLAGS := --release --locked
KILLS ?= 500
SEED ?= 1
set_data = $(if $(DATA),--set DATA=$(DATA))

.DEFAULT_GOAL := help
.PHONY: help pipeline plan report test check format lint doc layers deny bench torture slurm-check gpu-check clean toolchain python

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PIPELINE=FILE   the pipeline to run (now: $(PIPELINE))"
	@echo "  DATA=FOLDER     where its data is, for pipelines that read \$${var.DATA}"
	@echo "  ARGS='…'        more arguments for refrain, such as --keep-going"

python:
	@command -v python3 >/dev/null || { echo "error: python3 is not installed; the measurements need it" >&2; exit 2; }

toolchain:
	@command -v cargo >/dev/null || { echo "error: cargo is not installed; Rust 1.95 or newer is needed (see README, Install)" >&2; exit 2; }
	@command -v cc >/dev/null || { echo "error: no C compiler (cc) is installed; some dependencies are built from C (see README, Install)" >&2; exit 2; }

pipeline: toolchain ## Run a pipeline, building refrain first; the demo unless PIPELINE=… says otherwise
	@cargo build $(CARGO_FLAGS) --bin refrain
	@"$${CARGO_TARGET_DIR:-target}/release/refrain" run $(PIPELINE) $(set_data) $(ARGS)

plan: toolchain ## Show what `make pipeline` would run, and why
	@cargo build $(CARGO_FLAGS) --bin refrain
	@"$${CARGO_TARGET_DIR:-target}/release/refrain" plan $(PIPELINE) $(set_data) $(ARGS)

report: toolchain ## Write a page of what came out: reports/NAME.html
	@cargo build $(CARGO_FLAGS) --bin refrain
	@"$${CARGO_TARGET_DIR:-target}/release/refrain" report $(PIPELINE) $(set_data) $(ARGS)

# The tests of the encoder need its weights; without them they say that they skipped.
test: toolchain ## Run every test
	@cargo build $(CARGO_FLAGS) --bin refrain
	@"$${CARGO_TARGET_DIR:-target}/release/refrain" model fetch >/dev/null \
		|| echo "the encoder's weights cannot be had here: its tests will skip" >&2
	cargo test $(CARGO_FLAGS) --workspace

check: toolchain format lint doc layers deny ## What CI checks besides the tests: format, layers, clippy, docs, licences

format:
	cargo fmt --all --check

layers:
	cargo test $(CARGO_FLAGS) --test it layers::

lint:
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --workspace --no-deps --document-private-items

deny:
	@if cargo deny --version >/dev/null 2>&1; then \
		cargo deny --offline check bans licenses sources; \
	else \
		echo "skipped: cargo-deny is not installed (cargo install cargo-deny); licences and sources are not checked"; \
	fi

# Some of it: make bench ONLY='stages --stages 10,100'. DVC and Snakemake are measured beside it where they
# are installed, or from the venv that PEERS names.
bench: toolchain python ## Take the measurements of docs/benchmarks.md (PEERS=VENV DATA=FOLDER ONLY='stages rows')
	@cargo build $(CARGO_FLAGS) --bin refrain
	@cargo test $(CARGO_FLAGS) --lib --no-run
	@REFRAIN="$${CARGO_TARGET_DIR:-target}/release/refrain" \
		LIB_TESTS="$$(cargo test $(CARGO_FLAGS) --lib --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$$/\1/p')" \
		PEERS='$(PEERS)' python3 scripts/bench $(ONLY) $(if $(DATA),--data $(DATA)) \
		--points "$${CARGO_TARGET_DIR:-target}/bench.json" --plot docs/benchmarks.svg
	@$(if $(ONLY),,cargo test $(CARGO_FLAGS) --lib -- --ignored --nocapture speed_of_hashing speed_of_writing)

# One case that was printed as failed: make torture REPLAY='whole FAULTS_AT=12 FAULTS_DO=cut'.
torture: toolchain ## Kill, starve and confuse hundreds of runs: docs/torture.md (KILLS=500 SEED=1)
	TORTURE_KILLS=$(KILLS) TORTURE_SEED=$(SEED) TORTURE_REPLAY='$(REPLAY)' \
		cargo test $(CARGO_FLAGS) --test it -- --ignored --nocapture torture::$(if $(REPLAY),replay)

slurm-check: KILLS = 20
slurm-check: toolchain ## Time a small Slurm of Debian's packages beside this machine, and kill runs on it (KILLS=20)
	KILLS=$(KILLS) cargo test $(CARGO_FLAGS) --test it -- --ignored --nocapture slurm::

gpu-check: ## On a machine with a CUDA GPU: hold it against the processor, with the binary that REFRAIN names
	@REFRAIN="$${REFRAIN:-$${CARGO_TARGET_DIR:-target}/release/refrain}" scripts/gpu_check.sh

clean: ## Remove what cargo built; artifacts stay
	cargo clean
