#!/usr/bin/env bash
# The code that reads memory maps, and everything that reads through it, under AddressSanitizer: the
# tests of the real disk, of maps that fail, of segments and of the tag index's files.
#
#   engine/asan.sh            those tests
#   engine/asan.sh FILTER...  others, as cargo-nextest names them
#
# Not part of test.sh: the fuzz targets there run under the same sanitizer, and what is left, some
# thirty tests, would cost another build of the engine.
set -euo pipefail
cd "$(dirname "$0")/.."

target="$(rustc -vV | sed -n 's/^host: //p')"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
# The sanitizer needs a flag that stable keeps behind this variable.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address"
# The tests end while a thread of a log they have not closed may still hold something.
export ASAN_OPTIONS="detect_leaks=0"
if [ "$#" -eq 0 ]; then
    set -- storage::map storage::disk storage::contract real_disk failing_maps reading segment
fi
# Naming the target keeps the flag from build scripts and macros.
cargo nextest run -p strandlog-engine --target "$target" --lib --test promises --no-fail-fast "$@"
