# What can be done here: `make help`.

SHELL := /bin/bash
# Tools for links and guests live there, also for users who do not have it on their path.
export PATH := $(PATH):/usr/sbin:/sbin
# The demonstration needs root for its namespaces, the build does not.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=DURATION)
# With cargo-nextest each test is a process with a time limit; without it, cargo's own runner.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
# This machine as rustc calls it, and as cargo's variables do.
TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
HOST = $(shell echo $(TRIPLE) | tr a-z- A-Z_)
FIRMWARE := dataplane/tests/bochs/Cargo.toml

.DEFAULT_GOAL := help
.PHONY: $(shell awk -F: '/^[a-z0-9-]+:/ { print $$1 }' Makefile)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

run: ## dial 20 subscribers in a lab and show their traffic (DURATION=seconds, YES=1 to install unasked)
	@scripts/setup run
	cargo build --locked -p penstock -p penstock-tests --bins
	$(AS_ROOT) target/debug/penstock-demo

test: ## everything, with real Linux clients; needs root (YES=1 to install unasked)
	@scripts/setup test
	cargo build --locked --workspace --bins
ifdef NEXTEST
	cargo nextest run --locked --workspace --no-fail-fast
else
	cargo test --locked --workspace --no-fail-fast -- --test-threads=2
endif

# Tests of guests are built for where they run: without a library to load.
GUEST := x86_64-unknown-linux-gnu
test-zerocopy: ## AF_XDP in zero-copy mode, in a QEMU guest (x86-64 alone; YES=1 to install unasked)
	@scripts/setup test-zerocopy
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static" \
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$(CURDIR)/scripts/in-guest \
	cargo test --locked --target $(GUEST) -p penstock-dataplane --test zero_copy -- --ignored --test-threads=1

check: ## the fast tier: what needs neither root nor a network
ifdef NEXTEST
	cargo nextest run --locked --workspace --profile check
else
	cargo test --locked -p penstock-protocol -p penstock --lib
endif

test-avx512: ## the MPPE kernel for AVX-512, on a CPU that bochs emulates
	@scripts/setup test-avx512
	cargo test --locked -p penstock-dataplane --test avx512

test-valgrind: ## the MPPE kernels of this CPU under valgrind, which sees what their assembly touches
	@scripts/setup test-valgrind
	CARGO_TARGET_$(HOST)_RUNNER="valgrind --quiet --error-exitcode=1" \
		cargo test --locked -p penstock-dataplane --lib -- mppe::kernel --test-threads=1

test-asan: ## the MPPE engine of this CPU under AddressSanitizer
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --locked --target $(TRIPLE) \
		--target-dir target/asan -p penstock-dataplane --lib -- mppe::

MIRI = MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --target-dir target/miri \
	-p penstock-dataplane --lib
WITH_AVX2 := 'profile.dev.package.penstock-dataplane.rustflags=["-Ctarget-feature=+avx2"]'

test-miri: ## the portable MPPE kernel and the transposition for AVX2 under Miri
	@scripts/setup test-miri
	$(MIRI) -- mppe::kernel::tests
	$(MIRI) -Zprofile-rustflags --config $(WITH_AVX2) -- mppe::kernel::transpose

lint: ## format and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo fmt --check --manifest-path $(FIRMWARE)
	cargo clippy --locked --manifest-path $(FIRMWARE) --target-dir target/tmp/firmware -- -D warnings

ebpf: ## rebuild the steering program's committed object; needs clang
	@scripts/setup ebpf
	$(MAKE) -C ebpf

bench: ## every measurement, at most 20 minutes (QUICK=1: 3), and target/bench/report.html; needs root
	@scripts/setup test
	cargo build --release --locked -p penstock -p penstock-bench --bins
	$(AS_ROOT) target/release/penstock-bench all $(if $(QUICK),--quick)

# What is published names a commit, and that has to be what was measured and what judges it.
bench-publish: ## make the results in target/bench those of bench/results and of the README (no uncommitted changes)
	@git diff --quiet HEAD -- . ':!README.md' ':!bench/results' || \
		{ echo "bench-publish: the tree has changes that no commit has: commit them first" >&2; exit 1; }
	rm -rf target/bench/plots
	cargo run --release --locked -p penstock-bench -- report --plots target/bench/plots --readme README.md
	rm -rf bench/results
	mkdir -p bench/results
	cp -r target/bench/*.json target/bench/about target/bench/report.html target/bench/plots/*.svg bench/results/

bench-mppe: ## what encryption costs, against libraries' ciphers; writes target/bench/mppe.json
	cargo run --release --locked -p penstock-bench -- mppe

bench-pipeline: ## what a packet costs a worker, and the road without encryption; writes target/bench/pipeline.json
	cargo run --release --locked -p penstock-bench -- pipeline

bench-dial: ## how fast thousands of clients get in, and what they cost; needs root; writes target/bench/dial.json
	cargo build --release --locked -p penstock -p penstock-bench --bins
	$(AS_ROOT) target/release/penstock-bench dial

bench-storm: ## 18,900 clients dial at once: local users, then a RADIUS that answers 200 a second; needs root; minutes
	cargo build --release --locked -p penstock -p penstock-bench --bins
	$(AS_ROOT) target/release/penstock-bench dial --sessions 18900 --users local,radius --at-once 0 --radius-rate 200 --name storm

bench-peer: ## what a packet costs the Linux kernel's PPTP and us, in one run; needs root; writes target/bench/peer.json
	@scripts/setup test
	cargo build --release --locked -p penstock-bench
	$(AS_ROOT) target/release/penstock-bench peer kernel

bench-load: ## a thousand tunnels of encrypted packets through a penstock of its own; needs root; writes target/bench/load.json
	cargo build --release --locked -p penstock -p penstock-bench --bins
	$(AS_ROOT) target/release/penstock-bench load --own-server --tunnels 1000 --rate 20 --to peers

bench-wire: ## what a packet costs a worker by AF_XDP, and by raw socket and TUN; needs root and two cores; writes target/bench/wire.json
	cargo build --release --locked -p penstock-bench
	$(AS_ROOT) target/release/penstock-bench wire

bench-overload: ## what a worker carries of twice as much as it can, by AF_XDP; needs root and two cores; writes target/bench/overload.json
	cargo build --release --locked -p penstock-bench
	$(AS_ROOT) target/release/penstock-bench overload $(if $(QUICK),--quick)

bench-scale: ## packets per second and memory over tunnels and workers; needs root; writes target/bench/scale.json
	cargo build --release --locked -p penstock -p penstock-bench --bins
	$(AS_ROOT) target/release/penstock-bench scale

bench-report: ## one page of all results so far: target/bench/report.html
	cargo run --release --locked -p penstock-bench -- report
