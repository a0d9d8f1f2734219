#!/usr/bin/env bash
# A disk's first copy by medium: exported as raw, qcow2, VHD and VHDX between a hook that quiets the source and one that lets it
# go on, imported near the server while the source changes, and then the agent at the machine sends only what differs; points are
# right from then on. Imports that are killed are repeated; a medium that was cut, changed or exchanged is refused.
# Usage: seed.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

mib=96
formats=(raw qcow2 vhd vhdx)
declare -A machine  # Of each format: they do not know of each other.
site() { causeway --config "$demo/causeway.toml" "$@" 2>>"$demo/cli.log"; }
identity() { echo --ca "$demo/pki/ca.crt" --cert "$demo/pki/$1.crt" --key "$demo/pki/$1.key"; }
issue_machine() { # NAME
    machine[$1]=$(cat /proc/sys/kernel/random/uuid)
    site pki issue "$demo/pki" --role machine --id "${machine[$1]}" --name "$1" --out "$demo/pki/$1" >/dev/null
}
export_seed() { # FORMAT
    causeway-agent seed export $(identity "$1") --state "$demo/source.$1" --image "$demo/disk.img" --disk-name disk --format "$1" \
        --output "$demo/medium/$1" --pre-hook "$demo/pre-hook" --post-hook "$demo/post-hook" --hook-timeout 10m >>"$demo/seed.log" 2>&1
}
import_words() { # FORMAT MEDIUM: sets words.
    words=(causeway-agent seed import $(identity "$1") --server "127.0.0.1:$demo_port" --state "$demo/import.$1" --image "$demo/medium/$2")
}
import_seed() { # FORMAT MEDIUM [OPTION…]
    local words
    import_words "$1" "$2"
    shift 2
    "${words[@]}" "$@"
}
# refused CODE EXIT COMMAND…: it ends so, and says why.
refused() {
    local code=$1 wanted=$2 got=0; shift 2
    "$@" >"$demo/refused" 2>&1 || got=$?
    [ $got = "$wanted" ] && says "$code" <"$demo/refused" || { echo "exit $got: $(cat "$demo/refused")"; return 1; }
}
# Kills an import when its log says WHAT. The server stands still meanwhile, so that it cannot have ended before.
kill_import_at() { # WHAT FORMAT
    local words pid deadline=$((SECONDS + 90))
    import_words "$2" "$2"
    "${words[@]}" --log-level info >"$demo/killed.log" 2>&1 &
    pid=$!
    demo_pids+=($pid)
    until grep -q "$1" "$demo/killed.log"; do
        [ $SECONDS -lt $deadline ] && kill -0 $pid 2>/dev/null || { cat "$demo/killed.log"; return 1; }
        sleep 0.01
    done
    kill -STOP "$demo_server_pid"
    kill -9 $pid
    kill -CONT "$demo_server_pid"
    wait $pid 2>/dev/null
    return 0
}
nobody_reads_it() { ! pgrep -f "qemu-nbd.*$demo/medium" >/dev/null; }
change_disk() { # NAME: a file more in the file system.
    head -c 512K /dev/urandom > "$demo/new" && debugfs -w -f /dev/stdin "$demo/disk.img" >/dev/null 2>&1 <<<"write $demo/new /$1"
}
protect() { # FORMAT
    causeway-agent protect $(identity "$1") --server "127.0.0.1:$demo_port" --state "$demo/agent.$1" --image "$demo/disk.img" \
        --disk-name disk --machine-name "$1" --interval 3600s --pre-hook true --post-hook true 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
make_point() { causeway-agent point --state "$demo/agent.$1" --tag "$2" --wait committed --timeout 100s >>"$demo/points.log" 2>&1; }
agent_json() { causeway-agent status --state "$demo/agent.$1" --json 2>/dev/null; }
because_of_the_seed() { agent_json "$1" | says '"reason":"seed: '; }
points_of() { site --json points "${machine[$1]}" | grep -c '"id"'; }
point_is() { # FORMAT POINT IMAGE
    rm -f "$demo/restored"
    causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" restore --machine "${machine[$1]}" --point "$2" \
        --output "$demo/restored" >>"$demo/cli.log" 2>&1 && cmp "$demo/restored" "$3"
}
# The agent at the machine, with a state of its own, after the import.
differences_travel() { # FORMAT
    local sent
    protect "$1"
    wait_for 120 "a point of $1" make_point "$1" first
    sent=$(agent_json "$1" | json_number sent_bytes)
    echo "$1: the agent sent $sent of $((mib << 20)) bytes"
    check "$1: only the differences travel" test "$sent" -gt 0 -a "$sent" -le $(((mib << 20) / 50))
    check "$1: they are compared because of the seed" because_of_the_seed "$1"
    check "$1: the first point is the disk" point_is "$1" latest "$demo/disk.img"
}

demo_begin
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
site vault create >/dev/null || die "vault create"
demo_start_server
mkdir "$demo/medium" "$demo/files"
for n in 1 2 3 4 5 6; do head -c 4M /dev/urandom > "$demo/files/$n"; done
mke2fs -q -t ext4 -d "$demo/files" -F "$demo/disk.img" ${mib}M >/dev/null || die "no file system"
printf '#!/bin/sh\necho quiet >> "%s/hooks"\n' "$demo" > "$demo/pre-hook"
printf '#!/bin/sh\necho on >> "%s/hooks"\n' "$demo" > "$demo/post-hook"
chmod +x "$demo/pre-hook" "$demo/post-hook"
for format in "${formats[@]}"; do
    issue_machine $format
    export_seed $format || die "no export as $format: $(tail -n 1 "$demo/seed.log")"
done
cp --sparse=always "$demo/disk.img" "$demo/then.img"
check "an export is what the disk was" cmp "$demo/medium/raw" "$demo/then.img"
check "the source was quiet, and goes on" test "$(sort "$demo/hooks" | uniq -c | awk '{ print $1 }' | sort -u)" = 4
check "a VHDX proves to be what was exported" causeway-agent seed check --image "$demo/medium/vhdx"
check "the disk goes on changing" change_disk later

# Media that are not what they should be.
head -c -4096 "$demo/medium/qcow2" > "$demo/medium/cut" && cp "$demo/medium/qcow2.seed" "$demo/medium/cut.seed"
cp --sparse=always "$demo/medium/raw" "$demo/medium/flipped" && cp "$demo/medium/raw.seed" "$demo/medium/flipped.seed"
printf x | dd of="$demo/medium/flipped" bs=1 seek=$((40 << 20)) conv=notrunc status=none
check "a cut image is refused" refused SIZE_MISMATCH 1 import_seed qcow2 cut
check "a changed byte is refused" refused RECORD_CORRUPT 1 import_seed raw flipped
check "another machine's medium is refused" refused IDENTITY_REFUSED 3 import_seed raw vhd
check "another disk's medium is refused" refused TARGET_UNSAFE 3 import_seed raw raw --disk-name data
check "an exchanged medium is refused" refused IDENTITY_REFUSED 3 import_seed raw raw --fingerprint "$(printf '0%.0s' {1..64})"
check "none of it is a recovery point" test "$(points_of raw)" = 0

for what in agent.disk.welcome agent.fence.open agent.seed.copied; do
    check "an import is killed at $what" kill_import_at $what raw
done
check "an import through qemu-nbd is killed" kill_import_at agent.fence.open qcow2
wait_for 60 "the end of qemu-nbd" nobody_reads_it

# A customer's own image has no manifest.
mv "$demo/medium/qcow2.seed" "$demo/elsewhere"
for format in "${formats[@]}"; do
    options=()
    [ $format != qcow2 ] || options=(--format qcow2 --disk-name disk)
    [ $format != vhdx ] || options=(--point)
    check "import from $format" import_seed $format $format "${options[@]}"
done
check "what was imported is no recovery point" test "$(points_of raw) $(points_of qcow2) $(points_of vhd)" = "0 0 0"
check "but on request, of the moment of the export" point_is vhdx latest "$demo/then.img"
for format in "${formats[@]}"; do
    differences_travel $format
    if [ $format = raw ]; then
        change_disk later-still
        wait_for 120 "a second point" make_point raw second
        check "the next point is the disk too" point_is raw latest "$demo/disk.img"
        check "a disk that is protected takes no seed" refused TRANSITION_REFUSED 3 import_seed raw raw
        check "and its agent does not notice" test "$(grep -c agent.session.live "$demo/agent.log")" = 1
    fi
    causeway-agent stop --state "$demo/agent.$format" >/dev/null
    if [ $format = raw ]; then
        wait "$demo_agent_pid"
        check "unless one insists while it is down" import_seed raw raw --over
        check "and points stay what they were" point_is raw latest "$demo/disk.img"
    fi
done
cases_end
