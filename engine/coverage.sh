#!/usr/bin/env bash
# How much of the engine its own tests reach, in lines and branches.
#
#   engine/coverage.sh              a table by file, and what of format/ and recovery is left out
#   engine/coverage.sh FILTER...    the same of some of the tests, as cargo-nextest names them
#
# Needs cargo-nextest, and llvm-cov and llvm-profdata of the LLVM that the compiler was built with
# (Debian's llvm-22, for example), found by their names or by LLVM_BIN.
set -euo pipefail
cd "$(dirname "$0")/.."

version="$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')"
bin="${LLVM_BIN:-/usr/lib/llvm-$version/bin}"
for tool in llvm-cov llvm-profdata; do
    [ -x "$bin/$tool" ] || {
        echo "error: there is no $bin/$tool; install llvm-$version, or set LLVM_BIN" >&2
        exit 1
    }
done

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/coverage"
# Branches are counted behind a flag that stable keeps behind this variable.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Cinstrument-coverage -Zcoverage-options=branch"
profiles="$(mktemp -d)"
trap 'rm -rf "$profiles"' EXIT
# Build scripts and macros run while building, and are of no interest.
LLVM_PROFILE_FILE=/dev/null cargo test --quiet -p strandlog-engine --lib --test promises --no-run
# Eight profiles, each merged into by many processes: one for each test would fill the disk.
LLVM_PROFILE_FILE="$profiles/%8m.profraw" cargo nextest run -p strandlog-engine \
    --lib --test promises --no-fail-fast --status-level fail "$@"
"$bin/llvm-profdata" merge -sparse "$profiles"/*.profraw -o "$profiles/all"

objects=()
for name in strandlog_engine promises; do
    newest="$(find "$CARGO_TARGET_DIR/debug/deps" -maxdepth 1 -name "$name-*" -type f -executable \
        -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)"
    # The first one stands alone, the others behind a flag.
    if [ "${#objects[@]}" -gt 0 ]; then objects+=(-object); fi
    objects+=("$newest")
done
# What the fuzz targets and the planted faults use is no part of the engine that is shipped.
ignored='/registry/|/rustc/|/tests?/|tests\.rs|_tests\.rs|/checks/|storage/sim|fuzzing|repair\.rs'
"$bin/llvm-cov" report "${objects[@]}" -instr-profile="$profiles/all" \
    --show-branch-summary --show-region-summary=false --show-functions=false \
    -ignore-filename-regex="$ignored"

echo
echo "Not reached in format/ and recovery (lines, and branches with the way that was never taken):"
"$bin/llvm-cov" show "${objects[@]}" -instr-profile="$profiles/all" --show-branches=count \
    engine/src/format/*.rs engine/src/recovery.rs |
    awk '
        # Generic code is told once for each use of it: a way counts as taken if any of them took it.
        /^[^ |].*\.rs:$/ { file = $0; sub(/.*engine\/src\//, "", file); sub(/:$/, "", file); next }
        /^ *\|  Branch \(/ {
            match($0, /\([0-9]+:[0-9]+\)/)
            place = file ":" substr($0, RSTART + 1, RLENGTH - 2)
            if (!(place in seen)) { seen[place] = 1; order[++count] = place }
            if ($0 !~ /True: 0,/) yes[place] = 1
            if ($0 !~ /False: 0\]/) no[place] = 1
            next
        }
        /^ +[0-9]+\| +0\|/ {
            split($0, part, "|")
            line = part[1]; gsub(/ /, "", line)
            place = file ":" line
            if (!(place in seen)) { seen[place] = 1; order[++count] = place; text[place] = $0 }
        }
        END {
            for (i = 1; i <= count; i++) {
                place = order[i]
                if (place in text) { print "  " place "  never run"; continue }
                if (!(place in yes)) print "  " place "  never true"
                if (!(place in no)) print "  " place "  never false"
            }
        }'
