#!/usr/bin/env bash
# Runs fuzz targets, two at a time, and says what came of it: a line of JSON for each.
#
#   fuzz/run.sh 20                     every target for 20 seconds
#   fuzz/run.sh 600 decode segment     these targets for 10 minutes each
#   fuzz/run.sh 0 decode               this target until it is stopped
#
# The lines go to standard output and, if FUZZ_RESULTS names a file, to its end:
#   {"target":"decode","runs":1234567,"seconds":20,"runs_per_s":61728,"peak_rss_mb":97,"findings":0}
#
# What a run finds goes to a directory of its own, FUZZ_FOUND/TARGET if that is set, so that the kept
# corpus grows only by hand. An input that fails is kept there as crash-*, and is played again by
# `cargo fuzz run TARGET INPUT`.
set -euo pipefail
cd "$(dirname "$0")"

seconds="$1"
shift
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    for file in targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# Without the targets of the server (those that need more than the engine) the build takes a fraction of
# the time.
features=(--no-default-features)
for name in "${targets[@]}"; do
    case "$name" in
    decode | derived | model | recover | segment) ;;
    *) features=() ;;
    esac
done
# The sanitizer needs a compiler flag that stable keeps behind this variable.
RUSTC_BOOTSTRAP=1 cargo fuzz build "${features[@]}" >&2
target="$(rustc -vV | sed -n 's/^host: //p')"
programs="${CARGO_TARGET_DIR:-target}/$target/release"
work="${FUZZ_FOUND:-$(mktemp -d)}"
# One object in two crates is no error; freed memory that is held back counts as memory used.
export ASAN_OPTIONS="detect_odr_violation=0:quarantine_size_mb=32"

run() {
    local name="$1" from status=0
    mkdir -p "$work/$name"
    from="$SECONDS"
    "$programs/$name" "$work/$name" "corpus/$name" -artifact_prefix="$work/$name/" \
        -max_total_time="$seconds" -rss_limit_mb=512 -timeout=20 -print_final_stats=1 \
        >"$work/$name.log" 2>&1 || status="$?"
    local took=$((SECONDS - from)) runs rss findings
    runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")"
    rss="$(sed -n 's/^stat::peak_rss_mb: *//p' "$work/$name.log")"
    findings="$(find "$work/$name" \( -name 'crash-*' -o -name 'timeout-*' -o -name 'oom-*' \
        -o -name 'leak-*' \) | wc -l)"
    if [ "$status" -ne 0 ] && [ "$findings" -eq 0 ]; then findings=1; fi
    printf '{"target":"%s","runs":%d,"seconds":%d,"runs_per_s":%d,"peak_rss_mb":%d,"findings":%d}\n' \
        "$name" "${runs:-0}" "$took" "$((${runs:-0} / (took > 0 ? took : 1)))" "${rss:-0}" \
        "$findings" | tee -a "${FUZZ_RESULTS:-/dev/null}"
    if [ "$status" -ne 0 ]; then
        tail -n 60 "$work/$name.log" >&2
        echo "error: fuzzing $name failed; see $work/$name" >&2
        return 1
    fi
}

failed=0
running=0
for name in "${targets[@]}"; do
    if [ "$running" -eq 2 ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    run "$name" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
if [ "$failed" -eq 0 ] && [ -z "${FUZZ_FOUND:-}" ]; then rm -rf "$work"; fi
exit "$failed"
