#!/usr/bin/env bash
# For hours: a store that is well, browns out and goes away by turns, as an ever new seed says, under one server that is
# never touched. A point every few seconds; after each turn everything must be in the vault again, and at the end every
# point is there and one in ten is brought back. A line of build/results/soak.tsv per turn.
# Usage: brownout.sh BUILD_DIRECTORY HOURS; CAUSEWAY_SEED=N repeats the same turns, CAUSEWAY_TURN_S=N makes them shorter.
set -uo pipefail
build=$(realpath "${1:?build directory}") hours=${2:?hours}
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
source tests/lib/blob_job.sh
source tests/lib/lanes.sh
positive_number "$hours" || die "'$hours' is no number of hours"
turn_s=${CAUSEWAY_TURN_S:-300}
ledger=build/results/soak.tsv
mkdir -p build/results
[ -s "$ledger" ] || printf 'utc\twhat\tseed\tresult\tseconds\n' >"$ledger"

server_status() { causeway --config "$demo/causeway.toml" --json status 2>>"$demo/cli.log"; }
newest_point_is() { server_status | grep -q "\"tag\": *\"$1\""; }
nothing_stands() { ! server_status | grep -q '"code": *"BLOB_'; }

# next_turn: sets what, seconds, rules.
next_turn() {
    local share
    seconds=$((turn_s / 5 + RANDOM % turn_s))
    case $((RANDOM % 4)) in
        0) what=well rules='[]' ;;
        1)
            share=0.$(printf '%02d' $((2 + RANDOM % 40)))
            what=brownout-$share
            rules="[{\"action\":\"throttle\",\"probability\":$share},{\"action\":\"timeout_applied\",\"op\":\"put_blob\",\"probability\":0.02},
                {\"action\":\"drop_applied\",\"op\":\"put_blob\",\"probability\":0.02},{\"action\":\"drop\",\"probability\":0.02}]"
            ;;
        2) what=rate-limit rules='[{"action":"throttle","per_second":2}]' ;;
        3)
            what=outage seconds=$((1 + seconds / 2))
            rules='[{"action":"throttle","probability":0.4},{"action":"drop","probability":0.4},{"action":"error","status":500}]'
            ;;
    esac
}

brown_out() (
    demo_begin
    ordered_seed
    fake_start --seed "$ordered_seed"
    secret_file "$demo/credential" <<<"$fake_key"
    job "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/credential\""
    writer_pause
    end=$((SECONDS + $(awk -v h="$hours" 'BEGIN { printf "%d", h * 3600 }'))) point=0 turns=0
    while [ $SECONDS -lt $end ]; do
        next_turn
        turn_end=$((SECONDS + seconds)) began=$SECONDS
        fake_reset
        fake_faults "$rules"
        while [ $SECONDS -lt $turn_end ]; do
            ordered_ask "write 10"
            note_point "p$((++point))" sent || die "no point p$point: $(tail -n 1 "$demo/points.log")"
            sleep 2
        done
        read -r served failed <<<"$(fake_counts)"
        fake_faults '[]'
        wait_for 300 "what a turn of $what has held up" newest_point_is "p$point"
        wait_for 120 "the conditions of $what to be cleared" nothing_stands
        printf '%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$what" "$ordered_seed" \
            "passed, $served served, $failed failed" $((SECONDS - began)) >>"$ledger"
        turns=$((turns + 1))
    done
    [ -z "$(missing_points)" ] || die "points are missing: $(missing_points)"
    for ((i = point; i >= 1; i -= 10)); do
        restored_by_program "p$i" --vault "$fake_url/site" --key-file "$demo/credential"
    done
    echo "$turns turns, $point points: all there, each tenth restored byte-identical"
)

check "a store that browns out and goes away for $hours h is survived by itself" brown_out
cases_end
