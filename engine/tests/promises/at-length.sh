#!/usr/bin/env bash
# The tests of the promises with the figures of a longer run.
#
#   engine/tests/promises/at-length.sh ci            before a change is taken
#   engine/tests/promises/at-length.sh long [FILE]   from time to time
#
# Each promise's figures go to FILE as lines of JSON, behind one line about the run; without FILE
# they are only shown.
set -euo pipefail
cd "$(dirname "$0")/../../.."

length="${1:?ci or long}"
if [ "$#" -gt 1 ]; then
    figures="$(realpath "$2")"
    printf '{"run":"%s","commit":"%s","date":"%s","cores":%s,"seed":%s}\n' \
        "$length" "$(git rev-parse --short=12 HEAD)" "$(date -u +%Y-%m-%dT%H:%MZ)" "$(nproc)" \
        "${STRANDLOG_TEST_SEED:-null}" >"$figures"
else
    figures="$(mktemp)"
    trap 'rm -f "$figures"' EXIT
fi
export STRANDLOG_TEST_LENGTH="$length" STRANDLOG_TEST_FIGURES="$figures"

# One test at a time, each on all cores: so their times mean something. The engine is optimised, and
# keeps the checks of a debug build; that costs a minute of building and saves several.
cargo nextest run -p strandlog-engine --lib --test promises --test-threads 1 \
    --config 'profile.dev.package.strandlog-engine.opt-level=3' --profile length \
    --status-level fail --final-status-level slow
# As a part of the workspace, so that what the everyday run has built is used again.
cargo nextest run --workspace --test app --test process --profile length \
    --status-level fail --final-status-level slow \
    -E 'test(thousands_of_) | test(real_flights)'
cat "$figures"
