#!/usr/bin/env bash
# For hours: processes are killed with ever new seeds, and the simulator goes through ever new schedules. Every run is a
# line of build/results/soak.tsv (UTC, what, seed, result, seconds); logs of what failed stay in build/results/soak/.
# Usage: seeds.sh BUILD_DIRECTORY HOURS; CAUSEWAY_SOAK_SEED=N begins with that seed.
set -uo pipefail
build=$(realpath "${1:?build directory}") hours=${2:?hours}
cd "$(dirname "$0")/../.."
ledger=build/results/soak.tsv logs=build/results/soak
mkdir -p "$logs"
[ -s "$ledger" ] || printf 'utc\twhat\tseed\tresult\tseconds\n' >"$ledger"
seed=${CAUSEWAY_SOAK_SEED:-$(date +%s)}
end=$((SECONDS + $(awk -v h="$hours" 'BEGIN { printf "%d", h * 3600 }')))
declare -A runs=() failed=()

# soak WHAT COMMAND…: one run with the current seed.
soak() {
    local what=$1 log=$logs/$1-$seed.log started=$SECONDS result=passed; shift
    CAUSEWAY_SEED=$seed timeout --kill-after=30 1800 "$@" >"$log" 2>&1 || result="exit $?"
    printf '%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$what" "$seed" "$result" $((SECONDS - started)) >>"$ledger"
    runs[$what]=$((${runs[$what]:-0} + 1))
    if [ "$result" = passed ]; then
        rm -f "$log"
    else
        failed[$what]=$((${failed[$what]:-0} + 1))
        echo "seed $seed: $what: $result ($log)"
        tail -n 15 "$log"
    fi
}

while [ $SECONDS -lt $end ]; do
    soak crash bash tests/e2e/crash.sh "$build"
    if [ -x "$build/tests/causeway_sim" ]; then
        soak sim "$build/tests/causeway_sim" --seeds "$seed..$((seed + 199))"
    fi
    seed=$((seed + 200))
done
for what in "${!runs[@]}"; do
    if [ -z "${failed[$what]:-}" ]; then
        echo "PASS $what: ${runs[$what]} runs"
    else
        echo "FAIL $what: ${failed[$what]} of ${runs[$what]} runs"
    fi
done
[ ${#failed[@]} -eq 0 ]
