# Two commands are enough: `make demo` shows it, `make test` proves it. Each first installs what is missing (`.ci/install`).

CARGO ?= cargo

.PHONY: help demo test lint install

help:
	@echo "make demo   a drill in a box: a real restore of a throwaway production, on this machine"
	@echo "make test   every test, on real components"
	@echo "make lint   formatting and lints, as .ci/run checks them"

install:
	@.ci/install

# ARGS="--plain --yes" and the like go to lifeboat.
demo: install
	$(CARGO) build --locked
	@$(CARGO) run --locked --quiet -- demo $(ARGS)

test: install
	$(CARGO) test --locked

lint: install
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
