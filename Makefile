# Thin: each target is what a user could type. All install what they need, or say what is missing.
.PHONY: help install release broken demo bench bench-peers bench-probing idle jepsen wan soak noise mutants test power-cuts simulation fuzz ci

SEEDS ?= 100000
TRIALS ?= 20
ROUNDS ?= 14
SEED ?= 1
FOR ?= 2h
FUZZ_SECONDS ?= 600
RAFT_POWER_CUTS ?= 30
# One of each kind: processes, pauses, partitions, links, disks, clocks, the peers themselves.
FAULTS ?= kill-postmaster@primary,kill-node@primary,freeze@primary,clock-behind@primary,isolate@primary,primary-with-clients,leader-in-minority,zone-loss@primary,lossy-links@primary,power-cut@primary,fsync-errors@primary,kill-peer@leader,rolling-peers,membership-churn
# What zones that are far apart make harder: detection, elections, leases, and peers that come and go.
WAN_FAULTS := kill-postmaster@primary,kill-node@primary,freeze@primary,isolate@primary,leader-in-minority,zone-loss@primary,kill-peer@leader,rolling-peers
# Where rustup puts cargo, for shells that have not heard of it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)
JEPSEN := $(TARGET)/release/jepsen
TESTED := $(TARGET)/debug/jepsen
MUTANT := $(TARGET)/mutants/primacy

help:
	@sed -n 's/^\([a-z-]*\):.*# /\1\t/p' Makefile

install: # PostgreSQL (Debian, as root) and a look at Rust
	@./.ci/install

release: install
	cargo build --release --package primacy --package jepsen

# One binary that can break its rules, aside, then those that cannot: as the tests have them built, so that nothing is
# compiled twice.
broken: install
	cargo test --workspace --features mutants --test upgrade --no-run
	install -D $(TARGET)/debug/primacy $(MUTANT)
	cargo test --workspace --test upgrade --test workload_http --no-run

demo: release # a whole installation on this machine, and two recoveries as time lines
	$(JEPSEN) demo

bench: release # write outage, loss and rejoin under faults; TRIALS=20
	$(JEPSEN) bench --trials $(TRIALS) --json $(TARGET)/bench.json

bench-peers: release # commits beside etcd's, elections, a steady load, a restart over a million entries, reads
	@./.ci/install etcd
	cargo build --release --package raft-bench
	$(TARGET)/release/raft-bench commits --folder $(TARGET)
	$(TARGET)/release/raft-bench elections --folder $(TARGET) --trials $(TRIALS)
	$(TARGET)/release/raft-bench restart --folder $(TARGET)
	$(TARGET)/release/raft-bench steady --folder $(TARGET)
	$(JEPSEN) reads

bench-probing: release # CPU and memory of a peer that looks at up to 1,000 databases without agents, over TLS
	$(JEPSEN) probing

idle: release # CPU and memory of a cluster at rest
	$(JEPSEN) idle

# MUTANTS are those of jepsen/mutants.toml.
jepsen: MUTANTS ?= lease-end quorum-test
jepsen: broken # rounds of faults under load, half quorum, half async, every history judged, and two broken rules; ROUNDS=14 SEED=1
	@./.ci/install faults
	$(TESTED) run --rounds $(ROUNDS) --seed $(SEED) --folder $(TARGET)/jepsen --faults $(FAULTS)
	$(TESTED) mutants --if-possible --primacy-mutants $(MUTANT) --folder $(TARGET)/mutants/rounds $(MUTANTS)

wan: release # rounds with zones 100 ms apart there and back, in the network wan, after two quiet minutes of each durability; SEED=1
	@./.ci/install faults
	$(JEPSEN) run --apart-ms 50 --quiet 2m --rounds 8 --seed $(SEED) --folder $(TARGET)/wan --faults $(WAN_FAULTS)

soak: release # the same over all faults for hours; FOR=2h SEED=1
	@./.ci/install faults
	$(JEPSEN) soak --for $(FOR) --seed $(SEED) --folder $(TARGET)/soak

noise: FOR = 20m
noise: release # lost frames, taken processors and short pauses, so long for each durability: nobody may be replaced; FOR=20m SEED=1
	@./.ci/install faults
	$(JEPSEN) run --rounds 0 --noise $(FOR) --seed $(SEED) --folder $(TARGET)/noise

mutants: broken # break one safety rule after the other in the real binary: each must be caught; MUTANTS="lease-end quorum-test"
	@./.ci/install faults
	$(TESTED) mutants --primacy-mutants $(MUTANT) --folder $(TARGET)/mutants/rounds $(MUTANTS)

test: install # every test, then the proof that every broken safety rule is noticed
	@if cargo nextest --version >/dev/null 2>&1; then echo cargo nextest run --workspace; cargo nextest run --workspace; \
	else echo cargo test --workspace; cargo test --workspace; fi
	cargo test --workspace --features mutants --test simulation --test sql_model every_broken
	cargo test --workspace --features mutants --test upgrade

power-cuts: install # cut the power under a peer that writes, on ext4 and XFS, as root; RAFT_POWER_CUTS=30 on each
	RAFT_POWER_CUTS=$(RAFT_POWER_CUTS) cargo test --workspace --test groups power -- --nocapture --test-threads 1

simulation: # the simulator alone; SEEDS=100000
	SEEDS=$(SEEDS) cargo test --test simulation -- --nocapture

fuzz: # every decoder under damaged and hostile input, each for so long; FUZZ_SECONDS=600
	FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --workspace --lib fuzz_tests -- --nocapture

ci: # everything that a change must pass
	./.ci/run
