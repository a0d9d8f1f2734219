#!/usr/bin/env bash
# A full cache loses nothing (G11, B1): the store refuses everything until the cache takes no more, and comes back; again and
# again. Usage: spool_full.sh BUILD_DIRECTORY; CAUSEWAY_CYCLES=N for more cycles, CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
cycles=${CAUSEWAY_CYCLES:-3}
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || cycles=${CAUSEWAY_CYCLES:-100}

status_shows_full() { causeway --config "$demo/causeway.toml" status 2>/dev/null | says SPOOL_FULL; }
status_shows_room() { causeway --config "$demo/causeway.toml" --json status >"$demo/status.json" 2>/dev/null && ! grep -q SPOOL_FULL "$demo/status.json"; }
full_metric() { demo_metrics | awk '$1 ~ /^causeway_conditions/ && $1 ~ /SPOOL_FULL/ { print $2 }'; }
metric_is() { [ "$(full_metric)" = "$1" ]; }
agent_number() { agent_json | json_number "$1"; }
# True once the server has acknowledged nothing for two seconds although the agent holds more for it.
acknowledgements_stand() {
    local before
    before=$(agent_number spooled)
    sleep 2
    [ "$(agent_number spooled)" = "$before" ] && [ "$(agent_number next_sequence)" -gt $((before + 1)) ]
}

demo_begin
ordered_seed
fake_start --seed "$ordered_seed"
fake_quick_vault
# The smallest cache there is, of which a tenth is given away: it is full after some 30 MiB.
sed -i '/^\[cache\]/a throttle_free = 65\ncritical_free = 70\nwarn_free = 75' "$demo/causeway.toml"
demo_start_server
ordered_image 64
ordered_agent --spool-size 1GiB  # What the server does not take is kept in order on disk.
ordered_writer 250
ordered_protect
note_point start committed || die "no first point: $(tail -n 1 "$demo/points.log")"
writer_go
fences=$(fences_begun)

shown=0 counted=0 stood=0 drained=0
for ((cycle = 1; cycle <= cycles; cycle++)); do
    fake_faults '[{"action":"throttle"}]'  # 503 ServerBusy to everything.
    wait_for 300 "a full cache" status_shows_full && shown=$((shown + 1))
    wait_for 180 "the metric of it" metric_is 1 && counted=$((counted + 1))
    wait_for 180 "acknowledgements to stand still" acknowledgements_stand && stood=$((stood + 1))
    note_point "full-$cycle" sent || die "no point in a full cache: $(tail -n 1 "$demo/points.log")"
    writer_go
    fake_faults '[]'
    wait_for 300 "the cache to drain by itself" status_shows_room
    wait_for 180 "the metric to say so" metric_is 0
    wait_for 180 "the point that was made in a full cache" vault_has_tag "full-$cycle"
    note_point "after-$cycle" committed || die "no point after it: $(tail -n 1 "$demo/points.log")"
    writer_go
    drained=$((drained + 1))
done
writer_pause
echo "$cycles cycles, $ordered_writes writes, $(agent_number spooled) sequences acknowledged"
check "causeway status shows SPOOL_FULL, every time" [ $shown = "$cycles" ]
check "the metric of SPOOL_FULL is 1 then, and 0 afterwards" [ $counted = "$cycles" ]
check "a full cache acknowledges nothing more" [ $stood = "$cycles" ]
check "the store comes back: the cache drains by itself and goes on" [ $drained = "$cycles" ]
check "no point is lost, whether made in a full cache or after it" all_committed
check "the agent kept everything: no catch-up, no resync" no_resync
check "every point restores what the disk was at its moment" restore_all
check "the vault proves itself" eval 'causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full | tail -n 1 | says ^intact'
cases_end
