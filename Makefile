# Two commands are enough: `make demo` shows it, `make test` proves it. Each first installs what is missing (`.ci/install`).

CARGO ?= cargo

.PHONY: help demo test bench soak peers fuzz lint install

help:
	@echo "make demo   a drill in a box: a real restore of a throwaway production, on this machine"
	@echo "make test   every test, on real components"
	@echo "make bench  how fast backups are, against stock tools, on this machine"
	@echo "make soak   1000 random backups under kills and faults; everything published is restored and counted"
	@echo "make peers  the store's tests on Garage too; builds it once, which takes some minutes"
	@echo "make fuzz   what reads hostile bytes, given what nobody has thought of; wants nightly Rust and cargo-fuzz"
	@echo "make lint   formatting and lints, as .ci/run checks them"

install:
	@.ci/install

# ARGS="--plain --yes" and the like go to lifeboat.
demo: install
	$(CARGO) build --locked
	@$(CARGO) run --locked --quiet -- demo $(ARGS)

test: install
	$(CARGO) test --locked

# LIFEBOAT_BENCH_MIB=256 for a smaller database; the others are in benches/throughput.rs.
bench: install
	@$(CARGO) bench --locked --bench throughput

# LIFEBOAT_SOAK=5000 for more of it, LIFEBOAT_SOAK_SEED=7 for the same choices again.
soak: install
	LIFEBOAT_SOAK=$${LIFEBOAT_SOAK:-1000} $(CARGO) test --locked --test suite soak:: -- --nocapture

# Garage is a program here, never linked. LIFEBOAT_GARAGE names another one.
GARAGE_VERSION ?= 2.5.0
LIFEBOAT_GARAGE ?= $(CURDIR)/target/peers/bin/garage

peers: install
	@test -x $(LIFEBOAT_GARAGE) || $(CARGO) install garage --version $(GARAGE_VERSION) --locked --root target/peers --target-dir target/peers/build
	LIFEBOAT_GARAGE=$(LIFEBOAT_GARAGE) $(CARGO) test --locked --test suite -- --ignored garage

# FUZZ_SECONDS=600 for longer, FUZZ_TARGETS=plain for one. The test suite checks the same with a seed, on stable Rust: tests/fuzz.rs.
# No sanitizer: there is no unsafe code to watch, and without it twice as much is tried. Memory is counted by the targets themselves.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= plain custom words manifest retention

fuzz: install
	@cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing; type: cargo install cargo-fuzz" >&2; exit 2; }
	@cargo +nightly --version >/dev/null 2>&1 || { echo "nightly Rust is missing; type: rustup toolchain install nightly" >&2; exit 2; }
	@for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		mkdir -p fuzz/corpus/$$target; \
		cargo +nightly fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 $(FUZZ_ARGS) || exit 1; \
	done

lint: install
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
