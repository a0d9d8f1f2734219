#!/usr/bin/env bash
# For hours: the simulator goes through schedules that no campaign had, the parsers are fuzzed by turns, 5 minutes each,
# and every fourth turn processes are killed with ever new seeds; the planted bugs are looked for once. Each run is a line of
# build/results/soak.tsv (UTC, what, seed, result, seconds) and, with its counts and the commit, of the ledger, from which
# docs/fault-report.md is made at the end; logs of what failed stay in build/results/soak/. May be broken off at any time:
# the next soak goes on where the ledger ends, and fuzzes first what was fuzzed least.
# Usage: seeds.sh BUILD_DIRECTORY HOURS; CAUSEWAY_SOAK_SEED=N begins with that seed for kills, CAUSEWAY_SOAK_TURNS=N
# ends after so many turns; CAUSEWAY_LEDGER=FILE and CAUSEWAY_REPORT=FILE name other files than the checkout's.
set -uo pipefail
build=$(realpath "${1:?build directory}") hours=${2:?hours}
cd "$(dirname "$0")/../.."
source tests/lib/lanes.sh
positive_number "$hours" || { echo "seeds.sh: '$hours' is no number of hours" >&2; exit 2; }
list=build/results/soak.tsv logs=build/results/soak
ledger=${CAUSEWAY_LEDGER:-tests/sim/ledger.jsonl} report=${CAUSEWAY_REPORT:-docs/fault-report.md}
commit=$(commit_id)
sim=$build/tests/causeway_sim
mkdir -p "$logs"
[ -s "$list" ] || printf 'utc\twhat\tseed\tresult\tseconds\n' >"$list"
seed=${CAUSEWAY_SOAK_SEED:-$(date +%s)}
end=$((SECONDS + $(awk -v h="$hours" 'BEGIN { printf "%d", h * 3600 }')))
declare -A runs=() failed=()

# soak WHAT COMMAND…: one run with the current seed.
soak() {
    local what=$1 started=$SECONDS result=passed; shift
    log=$logs/${what// /-}-$seed.log
    CAUSEWAY_SEED=$seed timeout --kill-after=30 1800 "$@" >"$log" 2>&1 || result="exit $?"
    printf '%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$what" "$seed" "$result" $((SECONDS - started)) >>"$list"
    runs[$what]=$((${runs[$what]:-0} + 1))
    if [ "$result" != passed ]; then
        failed[$what]=$((${failed[$what]:-0} + 1))
        echo "seed $seed: $what: $result ($log)"
        tail -n 15 "$log"
    fi
}
# The log of a run that passed has said what it had to say.
done_with_log() { [ -n "${failed[$1]:-}" ] || rm -f "$log"; }

# count KIND … LOG: of what has just run. A log of nothing done adds nothing; a ledger that takes nothing is a failure.
count() {
    local status=0
    tests/soak/ledger.py "$ledger" "$commit" "$@" || status=$?
    [ $status -le 1 ] || failed[ledger]=$((${failed[ledger]:-0} + 1))
    runs[ledger]=$((${runs[ledger]:-0} + 1))
}

targets=() waiting=()
for program in "$(dirname "$build")"/fuzz/fuzz/fuzz_*; do
    [ ! -x "$program" ] || [ "${program##*_}" = canary ] || targets+=("${program##*/fuzz_}")
done
# next_target: sets name. Each is fuzzed once before any is again: one that ends at once would be the least fuzzed for ever.
next_target() {
    local target left=()
    [ ${#waiting[@]} -gt 0 ] || waiting=("${targets[@]}")
    name=$(tests/soak/ledger.py "$ledger" least-fuzzed "${waiting[@]}") || name=${waiting[0]}
    for target in "${waiting[@]}"; do [ "$target" = "$name" ] || left+=("$target"); done
    waiting=("${left[@]}")
}
if [ -x "$sim" ]; then
    soak mutants "$sim" --mutants
    count mutants "$log"
    done_with_log mutants
fi
turn=0
while [ $SECONDS -lt $end ] && [ $turn -lt "${CAUSEWAY_SOAK_TURNS:-1000000000}" ]; do
    if [ $((turn % 4)) -eq 0 ]; then
        soak crash bash tests/e2e/crash.sh "$build"
        count kills "$log"
        done_with_log crash
    fi
    if [ -x "$sim" ]; then
        soak sim "$sim" --report "$ledger" --seeds +8000 --commit "$commit"
        done_with_log sim
    fi
    if [ ${#targets[@]} -gt 0 ]; then
        next_target
        mkdir -p "build/fuzz/corpus/$name" "build/fuzz/found/$name"
        soak "fuzz $name" "$(dirname "$build")/fuzz/fuzz/fuzz_$name" -max_total_time=300 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
            -artifact_prefix="build/fuzz/found/$name/" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name"
        count fuzz "$name" "$log"
        done_with_log "fuzz $name"
    fi
    seed=$((seed + 1)) turn=$((turn + 1))
done
if [ -x "$sim" ]; then
    runs[report]=1
    if "$sim" --report "$ledger" >"$logs/fault-report.md"; then mv "$logs/fault-report.md" "$report"; else failed[report]=1; fi
fi
for what in "${!runs[@]}"; do
    if [ -z "${failed[$what]:-}" ]; then
        echo "PASS $what: ${runs[$what]} runs"
    else
        echo "FAIL $what: ${failed[$what]} of ${runs[$what]} runs"
    fi
done
[ ${#failed[@]} -eq 0 ]
