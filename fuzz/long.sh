#!/usr/bin/env bash
# Every fuzz target for a long time: as many seconds each as the first argument says, an hour without
# one; or the targets that the others name. Results go to fuzz/artifacts/long.jsonl, what reached
# something new to fuzz/artifacts/found, where the next run goes on.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p artifacts
export FUZZ_RESULTS="$PWD/artifacts/long.jsonl" FUZZ_FOUND="$PWD/artifacts/found"
exec nice -n 10 ./run.sh "${1:-3600}" "${@:2}"
