#!/usr/bin/env bash
# Whether the engine's tests notice a change of the code that decides what is a log and what is
# damage: cargo-mutants changes one place at a time, and a test has to fail each time.
#
#   engine/mutants.sh             every change of the files that .cargo/mutants.toml names
#   engine/mutants.sh REGEX...    those whose description fits, as `cargo mutants --list` tells it:
#                                 engine/mutants.sh src/format/ src/recovery.rs
#
# PART=1/10 takes every tenth of them, PART=2/10 the next ones. A change costs a build of the engine
# and its tests up to the first that fails, some ten seconds of a core, so all thousand of them take
# hours; one that no test notices costs a whole run. Not part of test.sh.
#
# Needs cargo-nextest; installs cargo-mutants. The results stay in target/mutants/mutants.out.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo mutants --version >/dev/null 2>&1 || {
    # A tool that waits for builds most of the time need not be the fastest.
    CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo install --locked cargo-mutants@27.1.0
}
# Changed copies are built in a directory of their own, so that the next ordinary build finds its own.
out="$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants"
export CARGO_TARGET_DIR="$out/build"
export STRANDLOG_TEST_LENGTH=everyday
mkdir -p "$out"

chosen=()
for regex in "$@"; do chosen+=(--re "$regex"); done
if [ -n "${PART:-}" ]; then
    # The tool counts parts from 0.
    chosen+=(--shard "$((${PART%/*} - 1))/${PART#*/}" --sharding round-robin)
fi
code=0
cargo mutants --package strandlog-engine --output "$out" ${chosen[@]+"${chosen[@]}"} \
    --cargo-arg=--lib --cargo-arg=--test=promises --cargo-test-arg=--fail-fast || code=$?

count() { wc -l <"$out/mutants.out/$1.txt"; }
# 2 says that a change was not noticed, 3 that the tests did not end; all else is a failure to try.
case "$code" in
    0 | 2 | 3) ;;
    *) exit "$code" ;;
esac
echo
echo "noticed: $(count caught), and $(count timeout) by tests that never ended; do not build:" \
    "$(count unviable); not noticed: $(count missed)"
[ "$(count missed)" -eq 0 ]
