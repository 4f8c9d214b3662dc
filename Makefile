# The house: `make demo` and `make test` are all that a newcomer needs; CI runs `make check test fuzz demo`.
.PHONY: help setup check test fuzz demo bench
.NOTPARALLEL:

# Debian packages: the real parts that tests and demo run, and what the build needs.
RUNTIMES  := containerd runc skopeo umoci docker-registry busybox-static util-linux iproute2 openssl openssh-client gnupg zstd
TPM       := swtpm swtpm-tools tpm2-tools softhsm2
DATABASE  := postgresql
BUILD     := gcc g++ libc6-dev
PACKAGES  := $(RUNTIMES) $(TPM) $(DATABASE) $(BUILD)
# One command of each, for systems without dpkg.
COMMANDS  := containerd runc skopeo umoci docker-registry busybox unshare nsenter setpriv ip openssl ssh-keygen gpg zstd swtpm swtpm_setup tpm2_quote softhsm2-util psql gcc g++

help:
	@echo "make demo    show the whole path on real parts (as root)"
	@echo "make test    every test, also those on real parts (as root)"
	@echo "make fuzz    hostile input for every parser of images, FUZZ_SECONDS=20 each"
	@echo "make check   format, lints, layers, documentation"
	@echo "make bench   measurements, built for release"
	@echo "make setup   install what the others need (Debian; asks apt only for what is missing)"

setup:
	@for tool in cargo rustc rustfmt cargo-clippy go; do \
	  command -v $$tool >/dev/null || { echo "error: \`$$tool\` is missing: install Rust (with rustfmt and clippy) and Go first" >&2; exit 1; }; \
	done
	@if command -v dpkg-query >/dev/null; then \
	  missing=$$(for package in $(PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || echo $$package; done | tr '\n' ' '); \
	else \
	  missing=$$(for command in $(COMMANDS); do command -v $$command >/dev/null || echo $$command; done | tr '\n' ' '); \
	fi; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	  echo "error: missing: $$missing" >&2; \
	  echo "hint: this is not Debian; install what Debian calls: $(PACKAGES)" >&2; exit 1; fi; \
	if [ "$$(id -u)" != 0 ]; then \
	  echo "error: missing packages: $$missing" >&2; \
	  echo "hint: run as root: apt-get install --no-install-recommends $$missing" >&2; exit 1; fi; \
	echo "installing $$missing" >&2; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing

check: setup
	cargo fmt --all --check
	cd fuzz && cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo run --quiet --locked --bin layers
	cd interop && go vet ./...
	cd interop/imgcrypt && go vet ./...
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# The second run is of the tests marked `#[ignore]`: they start real daemons as root. They fail, never skip.
test: setup
	cargo build --workspace --bins --locked
	cd interop && go test ./...
	cargo test --workspace --locked
	@[ "$$(id -u)" = 0 ] || { echo "error: the tests on real parts mount, unshare and run containers: run \`make test\` as root" >&2; exit 1; }
	cargo test --workspace --locked --lib --bins --tests -- --ignored

# A workspace of its own, with a target directory of its own: libFuzzer and its coverage are for nothing that ships.
fuzz: setup
	fuzz/run

demo: setup
	@[ "$$(id -u)" = 0 ] || { echo "error: the demo mounts, unshares and runs containers: run \`make demo\` as root" >&2; exit 1; }
	cargo build --workspace --bins --locked
	cargo run --quiet --locked --bin demo

# Both commands name the same packages, so that the second finds what the first built. `BENCH=image` runs one of them.
BENCH := *
bench: setup
	benches/peers/build.sh target/peers
	cargo build --release --locked --package bailiwick --package benches --bin bailiwick --bench '$(BENCH)'
	cargo bench --locked --package bailiwick --package benches --bench '$(BENCH)'
