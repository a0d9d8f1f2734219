#!/usr/bin/env bash
# Three disks of one machine share the agent's disk spool: an outage keeps every write of all of them, and points, while there is room;
# a kill of the agent in it costs no history; and when the room is gone only those that write leave DATA.
# Usage: disks_outage.sh BUILD_DIRECTORY; CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

disks=(root data quiet)
# Three times the memory goes through the spool, which is the smallest there is.
start_agent() {
    local arguments=() disk
    for disk in "${disks[@]}"; do arguments+=(--image "$demo/$disk.img" --disk-name "$disk"); done
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" "${arguments[@]}" --machine-name demo-machine --interval 3600s \
        --nbd-socket "$demo/nbd.sock" --memory 16MiB --spool-size 128MiB --log-level info 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
start_writer() {  # DISK: its requests through a pipe of their own.
    mkfifo "$demo/$1.in" "$demo/$1.out"
    python3 tests/e2e/nbd_writer.py "$demo/nbd.sock" "$1" "$demo/$1.img" "$ordered_seed" <"$demo/$1.in" >"$demo/$1.out" 2>>"$demo/writer.log" &
    demo_pids+=($!)
    exec {to[$1]}>"$demo/$1.in" {from[$1]}<"$demo/$1.out"
}
# write DISK COUNT: sets what the disk is then.
declare -A to from truth
write() {
    local answer
    echo "write $2" >&"${to[$1]}"
    read -t 120 -r answer <&"${from[$1]}" || die "the writer of $1 does not answer (see $demo/writer.log)"
    answer=${answer#paused }
    truth[$1]=${answer%% *}
}
write_both() { for ((turn = 0; turn < $1; turn++)); do write root 25; write data 25; done; }  # Some 1.3 MiB a turn.
# point TAG WAIT: what the disks are is noted first; the moment counts, whether it can be sent by now or not.
point() {
    local disk
    for disk in "${disks[@]}"; do echo "$1 $disk ${truth[$disk]}" >> "$demo/noted"; done
    causeway-agent point --state "$demo/agent" --tag "$1" --wait "$2" --timeout "${3:-120s}" >>"$demo/points.log" 2>&1
}
modes() { agent_json | python3 -c 'import json, sys
print(*[disk["name"] + "=" + disk["mode"] for disk in json.load(sys.stdin)["disks"]])'; }
all_in_data() { [ "$(modes)" = "root=data data=data quiet=data" ] || { modes; false; }; }
somebody_only_notes() { modes | says '=metadata'; }
protects() { agent_live && agent_json | python3 -c 'import json, sys
sys.exit(any(disk["phase"] != "protected" or disk["mode"] != "data" for disk in json.load(sys.stdin)["disks"]))' 2>/dev/null; }
server_dies() { kill -9 "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null; }
in_the_vault() { [ "$(vault_points | cut -d' ' -f1 | sort | xargs)" = "$(cut -d' ' -f1 "$demo/noted" | sort -u | xargs)" ]; }
restored_as_noted() {
    local tag id disk sum count=0
    while read -r tag id; do
        rm -rf "$demo/restored" && mkdir "$demo/restored"
        for disk in "${disks[@]}"; do
            cli export "$demo_machine" --point "$id" --disk "$disk" --output "$demo/restored/$disk" >>"$demo/cli.log" 2>&1 ||
                { echo "$disk of $tag cannot be restored"; tail -n 3 "$demo/cli.log"; return 1; }
            sum=$(sha256sum < "$demo/restored/$disk" | cut -d' ' -f1)
            grep -qx "$tag $disk $sum" "$demo/noted" || { echo "$disk of $tag differs"; return 1; }
            count=$((count + 1))
        done
    done < <(vault_points)
    echo "$count disks restored, each byte-identical to what it was at its point"
}
begun_anew() { tail -n "+$1" "$demo/agent.log" | grep -c 'agent.fence.open'; }

demo_begin
ordered_seed
demo_quick_vault
demo_start_server
ordered_pin_port
for disk in "${disks[@]}"; do
    head -c 2M /dev/urandom > "$demo/$disk.img"
    truncate -s 16M "$demo/$disk.img"
done
: > "$demo/noted"
start_agent
wait_for 60 "the agent's NBD socket" test -S "$demo/nbd.sock"
for disk in "${disks[@]}"; do start_writer "$disk"; done
wait_for 90 "protection" protects
for disk in "${disks[@]}"; do write "$disk" 20; done
point start committed || die "no point: $(tail -n 1 "$demo/points.log")"

# The network is away, both write three times what memory holds, and now and then a point is cut.
server_dies
from_line=$(($(wc -l < "$demo/agent.log") + 1))
for outage in 1 2 3; do
    write_both 12
    write quiet 2
    point "outage-$outage" sent 1s
done
check "with room in the spool no disk leaves data" all_in_data
demo_start_server
wait_for 300 "the points of the outage in the vault" in_the_vault
check "everything arrives, and nothing had to be caught up" [ "$(begun_anew "$from_line")" = 0 ]
check "every point is all disks at its moment" restored_as_noted

# Killed with records of all of them in the spool: what is lost is caught up, and the room is there again.
server_dies
write_both 25
check "before the kill all are in data" all_in_data
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
demo_start_server
start_agent
wait_for 300 "protection after the kill" protects
point killed committed || die "no point: $(tail -n 1 "$demo/points.log")"
server_dies
write_both 25
point after-kill sent 1s
check "the next outage finds the room again" all_in_data
demo_start_server
wait_for 300 "the points after the kill in the vault" in_the_vault

# Until the room is gone.
server_dies
for ((turns = 0; turns < 200; turns++)); do
    ! somebody_only_notes || break
    write_both 1
done
check "the spool takes more than half of its size first" [ "$turns" -gt 50 ]
write_both 2
check "then who writes only notes what changes, and who does not stays" [ "$(modes)" = "root=metadata data=metadata quiet=data" ]
demo_start_server
wait_for 300 "all disks to be back in data" protects
point full committed || die "no point: $(tail -n 1 "$demo/points.log")"
check "every point is all disks at its moment, to the end" restored_as_noted
one_generation() { [ "$(cli --json points "$demo_machine" | grep -o '"generation": *[0-9]*' | sed 's/.*: *//' | sort -u | xargs)" = 1 ]; }
check "and no history began anew" one_generation
cases_end
