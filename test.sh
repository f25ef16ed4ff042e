#!/usr/bin/env bash
# Everything that must hold before a change is taken. Installs what it needs and is missing.
#
#   ./test.sh            all of it
#   FUZZ_SECONDS=0 ./test.sh    without the fuzz runs
#   FUZZ=all ./test.sh          with the fuzz targets of the server, too
#   TORTURE=0 ./test.sh         without the server on disks that fail
#   LENGTH=everyday ./test.sh   without the promises at length
set -euo pipefail
cd "$(dirname "$0")"

FUZZ_SECONDS="${FUZZ_SECONDS:-20}"
FUZZ="${FUZZ:-engine}"
TORTURE="${TORTURE:-1}"
LENGTH="${LENGTH:-ci}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

step() { printf '\n== %s\n' "$*"; }

# Debian packages, only those whose command is missing.
packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need cc gcc
need c++ g++
need curl curl
need kill procps
if [ "${#packages[@]}" -gt 0 ]; then
    step "Installing ${packages[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || {
            echo "error: please install: ${packages[*]}" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null
fi

# A rig of torture whose tools are missing is skipped, and says so. They are installed where that is
# possible, and nothing fails where it is not.
if [ "$TORTURE" -ne 0 ]; then
    export PATH="$PATH:/usr/sbin:/sbin"
    packages=()
    need strace strace
    need mkfs.xfs xfsprogs
    need faketime faketime
    need losetup mount
    need prlimit util-linux
    need mkfs.ext4 e2fsprogs
    if [ "${#packages[@]}" -gt 0 ] && [ "$(id -u)" -eq 0 ]; then
        step "Installing ${packages[*]}"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null ||
            echo "not installed: ${packages[*]}" >&2
    fi
fi

for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
cargo_tool() {
    command -v "$1" >/dev/null 2>&1 && return
    step "Installing $1"
    # A checked build of a tool costs minutes and gains nothing here.
    CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo install --locked --quiet "$1"
}
cargo_tool cargo-nextest
if [ "$FUZZ_SECONDS" -gt 0 ]; then cargo_tool cargo-fuzz; fi

step "Format"
cargo fmt --all --check
for package in engine/loom fuzz torture; do
    cargo fmt --manifest-path "$package/Cargo.toml" --check
done

step "Lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings
cargo clippy --manifest-path engine/loom/Cargo.toml --quiet -- -D warnings

step "Documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

step "Tests"
cargo nextest run --workspace
cargo test --workspace --doc --quiet

if [ "$LENGTH" != everyday ]; then
    step "Promises at length"
    engine/tests/promises/at-length.sh "$LENGTH"
fi

step "Planted faults"
cargo clippy -p strandlog-engine --all-targets --features sabotage --quiet -- -D warnings
# What the same checks say of the sound engine has been seen above. Each ends with what it notices.
STRANDLOG_TEST_LENGTH=ci cargo nextest run -p strandlog-engine --features sabotage --test promises every_planted_fault

step "Threads in every order"
cargo run --quiet --manifest-path engine/loom/Cargo.toml

if [ "$TORTURE" -ne 0 ]; then
    step "Torture: the server on disks that fail"
    (
        # One target directory, so that what both packages need is built once.
        export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
        cargo build --quiet --bin strandlog
        cargo clippy --manifest-path torture/Cargo.toml --all-targets --quiet -- -D warnings
        cargo test --manifest-path torture/Cargo.toml --quiet
        cargo run --quiet --manifest-path torture/Cargo.toml -- \
            ci --binary "$CARGO_TARGET_DIR/debug/strandlog"
    )
fi

if [ "$FUZZ_SECONDS" -gt 0 ]; then
    # The server's targets would take longer to build with the sanitizer than all else here takes to
    # run; what they have kept is among the tests.
    targets=(decode derived model recover segment)
    if [ "$FUZZ" = all ]; then targets=(); fi
    step "Fuzzing each target for $FUZZ_SECONDS s"
    fuzz/run.sh "$FUZZ_SECONDS" "${targets[@]}"
fi

printf '\nall is well\n'
