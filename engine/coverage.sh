#!/usr/bin/env bash
# How much of the engine its own tests reach, in lines and branches.
#
#   engine/coverage.sh              a table by file, and what of the files that mutants.sh
#                                   changes is left out
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
mapfile -t files < <(find engine/src -name '*.rs' | sort |
    grep -vE '/tests/|/(loom_)?tests\.rs|_tests\.rs|storage/sim|fuzzing|sabotage|run/repair\.rs|format/made\.rs')
# The code that decides what is a log and what is damage: the files that mutants.sh changes.
mapfile -t deciding < <(sed -n 's/^ *"engine\/src\/\(.*\.rs\)",$/\1/p' .cargo/mutants.toml)

"$bin/llvm-cov" show "${objects[@]}" -instr-profile="$profiles/all" --show-branches=count \
    "${files[@]}" | awk -v "deciding=${deciding[*]}" \
    '
# Code that is generic, or built for unit tests and for the others, is told once for each use of it:
# a line or a way counts as taken if any of them took it. What stands behind `mod tests` is a test.
/^[^ |].*\.rs:$/ {
    file = $0; sub(/.*engine\/src\//, "", file); sub(/:$/, "", file)
    if (!(file in known)) { known[file] = 1; files[++file_count] = file }
    next
}
/^ *[0-9]+\| +[0-9.kMGTE]*\|mod tests \{/ && !(file in end) { end[file] = $1 + 0 }
/^ *\|  Branch \(/ {
    if (/Folded/) next
    match($0, /\([0-9]+:[0-9]+\)/)
    place = file ":" substr($0, RSTART + 1, RLENGTH - 2)
    if (!(place in branch)) { branch[place] = 1; order[++count] = place; of[place] = file }
    if ($0 !~ /True: 0,/) yes[place] = 1
    if ($0 !~ /False: 0\]/) no[place] = 1
    next
}
/^ +[0-9]+\| +[0-9.kMGTE]+\|/ {
    split($0, part, "|")
    gsub(/ /, "", part[1]); gsub(/ /, "", part[2])
    place = file ":" part[1]
    if (!(place in line)) { line[place] = 1; order[++count] = place; of[place] = file }
    if (part[2] != "0") ran[place] = 1
}
END {
    for (i = 1; i <= count; i++) {
        place = order[i]; file = of[place]
        split(place, part, ":")
        if (file in end && part[2] + 0 >= end[file]) continue
        if (place in line) {
            lines[file]++
            if (!(place in ran)) { missed_lines[file]++; gap[++gaps] = place "  never run"; }
            continue
        }
        ways[file] += 2
        if (!(place in yes)) { missed_ways[file]++; gap[++gaps] = place "  never true" }
        if (!(place in no)) { missed_ways[file]++; gap[++gaps] = place "  never false" }
    }
    print "lines  missed            ways of branches  missed"
    for (i = 1; i <= file_count; i++) {
        file = files[i]
        show(file, lines[file], missed_lines[file], ways[file], missed_ways[file])
        l += lines[file]; ml += missed_lines[file]; w += ways[file]; mw += missed_ways[file]
    }
    show("all of it", l, ml, w, mw)
    print "\nNot reached in format/ and recovery (lines, and branches with the way that was never taken):"
    for (i = 1; i <= gaps; i++) {
        file = gap[i]; sub(/:.*/, "", file)
        if (decides(file)) print "  " gap[i]
    }
}
function show(name, lines, missed_lines, ways, missed_ways) {
    printf "%5d  %6d  %6.2f %%  %16d  %6d  %8s  %s\n", lines, missed_lines, share(lines, missed_lines), \
        ways, missed_ways, ways ? sprintf("%.2f %%", share(ways, missed_ways)) : "", name
}
function share(all, missed) { return all ? 100 * (all - missed) / all : 100 }
function decides(file,    i) {
    for (i in pattern) if (file ~ pattern[i]) return 1
    return 0
}
BEGIN {
    split(deciding, pattern, " ")
    for (i in pattern) {
        gsub(/\./, "\\.", pattern[i]); sub(/\*/, "[^/]*", pattern[i])
        pattern[i] = "^" pattern[i] "$"
    }
}
'
