#!/usr/bin/env bash
# Two machines of a group at a second site without a vault: points of the group, by name and for every verb; what lies
# between two points as a replica log; an old disk that becomes a point; a part that is lost. Usage: second_site_groups.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

mb=16
is_same() { [ "$(sum_of "$1")" = "$(sum_of "$2")" ]; }
agent_start() { # NAME ID OPTION…
    local name=$1; shift 2
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/$name.crt" \
        --key "$demo/pki/$name.key" --state "$demo/$name" --machine-name "machine-$name" --image "$demo/$name.img" \
        --disk-name disk --nbd-socket "$demo/$name.nbd" --interval 3600s --group-hold 30s "$@" 2>>"$demo/$name.log" &
    demo_pids+=($!)
}
status_of() { causeway-agent status --state "$demo/$1" --json 2>/dev/null || true; }
live() { status_of "$1" | says '"link": *"live"'; }
protected() { status_of "$1" | says '"phase": *"protected"'; }
group_port() { status_of b | grep -o '"port": *[0-9]*' | tr -dc 0-9; }
listens() { [ -n "$(group_port)" ]; }
joined() { [ "$(status_of a | json_number connected)" = 1 ]; }
# write NAME PATTERN OFFSET LENGTH: as the machine does, through its agent.
write() { qemu-io -f raw -c "write -P $2 $3 $4" -c flush "nbd+unix:///?socket=$demo/$1.nbd" >>"$demo/writes.log" 2>&1 || die "no write (see $demo/writes.log)"; }
# point_of MACHINE TAG, and group_of MACHINE TAG while the group's point is whole; else empty.
field_of() {
    cli --json points "$1" 2>>"$demo/cli.log" | python3 -c 'import json, sys
tag, key = sys.argv[1:]
print(next((p[key] for p in json.load(sys.stdin) if p["tag"] == tag and (key == "id" or p.get("group_whole"))), ""))' "$2" "$3" || true
}
point_of() { field_of "$1" "$2" id; }
group_of() { field_of "$1" "$2" group; }
decided() { [ -n "$(group_of "$id_a" "$1")" ] && [ "$(group_of "$id_a" "$1")" = "$(group_of "$id_b" "$1")" ]; }
# group_point TAG: at it nobody writes, so the images are what the disks were.
group_point() {
    local tries=0  # A machine that stands still for longer than --group-hold spoils one; its parts are of nobody's group.
    until causeway-agent point --state "$demo/a" --group --tag "$1" --wait committed --timeout 120s >>"$demo/points.log" 2>&1; do
        [ $((tries += 1)) -lt 4 ] || die "no group point $1 (see $demo/points.log)"
    done
    cp "$demo/a.img" "$demo/a.$1"
    cp "$demo/b.img" "$demo/b.$1"
}
export_is() { # MACHINE POINT IMAGE
    rm -f "$demo/exported"
    exit_code_is 0 cli export "$1" --point "$2" --output "$demo/exported" && is_same "$demo/exported" "$3"
}
group_shows() { cli --json points --group "$1" 2>>"$demo/cli.log" | python3 -c 'import json, sys
print(*sorted(m["name"] for m in json.load(sys.stdin)[sys.argv[1]]))' "$2"; }

demo_begin
demo_config "url = \"\""
causeway pki issue "$demo/pki" --role master-target --name second-site --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
id_a=$(cat /proc/sys/kernel/random/uuid) id_b=$(cat /proc/sys/kernel/random/uuid)
for name in a b; do
    id=id_$name
    causeway pki issue "$demo/pki" --role machine --id "${!id}" --name "machine-$name" --out "$demo/pki/$name" >/dev/null
    head -c $((mb / 4))M /dev/urandom > "$demo/$name.img"
    truncate -s ${mb}M "$demo/$name.img" "$demo/target.$name"
    printf '[[target]]\nmachine = "%s"\ndisk = "disk"\npath = "%s"\n' "${!id}" "$demo/target.$name" >> "$demo/causeway.toml"
done
demo_start_server
sed -i "s/^listen = .*/listen = \"127.0.0.1:$demo_port\"/" "$demo/causeway.toml"
agent_start b "$id_b" --group-listen 127.0.0.1:0 --group-coordinator "$id_a"
wait_for 180 "B to listen" listens
agent_start a "$id_a" --group-member "$id_b@127.0.0.1:$(group_port)"
wait_for 300 "protection of A" protected a
wait_for 300 "protection of B" protected b
wait_for 180 "A to reach B" joined
write a 1 4M 256k; write b 2 5M 64k
group_point one
write a 3 4224k 64k; write a 4 12M 4k; write b 5 5M 64k
# The daemon dies when the group's decision has come and is not noted yet.
restart_server() { # [CRASH_POINT]: of the daemon only; an agent that is asked for its status would take it for its own.
    kill -9 "$demo_server_pid" 2>/dev/null
    wait "$demo_server_pid" 2>/dev/null
    CAUSEWAY_CRASH_POINT=${1:-} demo_start_server
    wait_for 180 "A's session" live a
    wait_for 180 "B's session" live b
}
wait_for 180 "what became of the first one" decided one  # Else the daemon dies of that, as soon as it is told again.
restart_server volume.group_decided:1
group_point two &
grouping=$!
died() { ! kill -0 "$demo_server_pid" 2>/dev/null; }
wait_for 180 "the end of a daemon that decides" died
restart_server
wait $grouping || die "no group point two (see $demo/points.log)"
write a 6 9M 64k
causeway-agent point --state "$demo/a" --tag alone --wait committed --timeout 120s >>"$demo/points.log" 2>&1 || die "no point of A alone"

# Points of the group.
check "a point of the group is one of both machines" wait_for 180 "the group's first point" decided one
check "so is the next, which the daemon died of" wait_for 180 "the group's second point" decided two
one=$(group_of "$id_a" one) two=$(group_of "$id_a" two)
check "they are two" test "$one" != "$two"
check "a point that one machine made alone is of no group" test -n "$(point_of "$id_a" alone)" -a -z "$(group_of "$id_a" alone)"
check "machines have their names" eval 'cli machines | says "$id_a  machine-a" && cli machines | says "$id_b  machine-b"'
check "a group's point names its machines" test "$(group_shows "$one" points)" = "machine-a machine-b" -a -z "$(group_shows "$one" without)"
check "an earlier group's point is A's part of it" export_is "$id_a" "group:$one" "$demo/a.one"
check "and B's" export_is "$id_b" "group:$one" "$demo/b.one"
check "the latest group's point is not A's latest" export_is "$id_a" latest-group "$demo/a.two"
check "and is B's" export_is "$id_b" latest-group "$demo/b.two"
check "failover takes it too" exit_code_is 0 cli failover "$id_a" --point latest-group --output "$demo/over.img"
check "and is the disk of then" is_same "$demo/over.img" "$demo/a.two"
check "it is given up again" exit_code_is 0 cli undo-failover "$id_a"

# What lies between two points.
echo "somebody's" > "$demo/log.hrl.part"
check "what lies between two points is a replica log" exit_code_is 0 cli --json hrl "$id_a" --from "group:$one" --to latest-group --output "$demo/log.hrl"
check "it holds what was written and not the disk" test "$(json_number bytes < "$demo/last.out")" -eq $((64 * 1024 + 4096))
previous=$(sed -n 's/.*"previous": *"\([^"]*\)".*/\1/p' "$demo/last.out")
check "a file beside it is left alone" grep -qx "somebody's" "$demo/log.hrl.part"
check "and nothing of the making is left" test -z "$(find "$demo" -maxdepth 1 -name 'log.hrl.*.part')"
check "the way back is a log as well" exit_code_is 0 cli --json hrl "$id_a" --from latest-group --to "group:$one" --output "$demo/back.hrl"
check "and continues the first" test "$(sed -n 's/.*"previous": *"\([^"]*\)".*/\1/p' "$demo/last.out")" = \
    "$(python3 -c 'import sys, uuid; print(uuid.UUID(bytes_le=open(sys.argv[1], "rb").read()[60:76]))' "$demo/log.hrl")"
applied() { # LOG FROM TO
    cp "$demo/a.$2" "$demo/replay.img"
    python3 tests/e2e/apply_hrl.py "$demo/$1" "$demo/replay.img" && is_same "$demo/replay.img" "$demo/a.$3"
}
check "applied to the older disk it gives the newer" applied log.hrl one two
check "applied to the newer the way back gives the older" applied back.hrl two one

# An old disk becomes a point, and only what differs moves.
old_disk() { # Of the first point, and damaged since.
    cp "$demo/a.one" "$demo/old.img"
    head -c 512 /dev/urandom | dd of="$demo/old.img" bs=512 seek=20000 conv=notrunc status=none
}
old_disk
check "an old disk becomes the latest group's point" exit_code_is 0 cli --json failback "$id_a" --point latest-group --target "$demo/old.img"
check "byte by byte" is_same "$demo/old.img" "$demo/a.two"
check "three blocks of it moved" test "$(json_number moved_bytes < "$demo/last.out")" -eq $((3 * 65536))
check "all were compared by fingerprint" test "$(json_number blocks_compared < "$demo/last.out")" -eq $((mb * 16))
check "back to the group's earlier point" exit_code_is 0 cli failback "$id_a" --point "group:$one" --target "$demo/old.img"
check "nothing is said to be fetched: it lies here" eval '! grep -qE "fetched|chunks|indexes" "$demo/last.out" && grep -q "2 differed: 128.0 KiB moved$" "$demo/last.out"'
check "byte by byte as well" is_same "$demo/old.img" "$demo/a.one"
check "a second time nothing moves" eval 'exit_code_is 0 cli --json failback "$id_a" --point "group:$one" --target "$demo/old.img" && [ "$(json_number moved_bytes < "$demo/last.out")" = 0 ]'
CAUSEWAY_CRASH_POINT=failback.collected:1 causeway --config "$demo/causeway.toml" failback "$id_a" --target "$demo/old.img" >>"$demo/cli.log" 2>&1
check "killed before the switch it has left the old disk as it was" is_same "$demo/old.img" "$demo/a.one"
check "the next run makes it the newest point" exit_code_is 0 cli failback "$id_a" --target "$demo/old.img"
check "which is the disk as it is" is_same "$demo/old.img" "$demo/a.img"
check "a target of this very site is refused" eval 'exit_code_is 3 cli failback "$id_a" --target "$demo/target.a" && said TARGET_UNSAFE'
check "and goes on being one" export_is "$id_a" "group:$one" "$demo/a.one"

# B gives up what it has collected: its parts are gone, and A's are points of A alone.
check "what was collected of B is given up" exit_code_is 0 cli target cancel "$id_b" disk
gone() { cli points "$id_a" | says "one  (its group's point is gone: machine $id_b (machine-b) has none)"; }
check "a group's point is gone with one machine's part" gone
check "and is not taken for the group's" eval 'exit_code_is 4 cli export "$id_a" --point "group:$one" --output "$demo/none.img" && said POINT_NOT_FOUND && [ ! -e "$demo/none.img" ]'
check "it is still a point of A" export_is "$id_a" "$(point_of "$id_a" one)" "$demo/a.one"
cases_end
