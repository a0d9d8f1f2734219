#!/usr/bin/env bash
# File systems that are full where something small is written (keys, certificates, receipts, what a daemon keeps), and where a
# seed is: each is named with its place, nothing half is left, and with room again everything goes on. Usage: full_disks.sh
# BUILD_DIRECTORY
set -uo pipefail
if [ -z "${full_disks_own_mounts:-}" ]; then
    full_disks_own_mounts=yes exec unshare --user --map-root-user --mount bash "$0" "$@"
fi
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

demo_begin
small=$demo/small
records=$demo/records
trap 'status=$?; umount -l "$small" "$records" 2>/dev/null; (exit $status); demo_end' EXIT
mkdir "$small" "$records" "$demo/seed-state"
mount -t tmpfs -o size=256k small "$small" || die "no tmpfs"
# fill DIRECTORY [FREE_BYTES]; room DIRECTORY.
fill() {
    cat /dev/zero >"$1/fill" 2>/dev/null
    [ $# -eq 1 ] || truncate -s -"$2" "$1/fill"
}
room() { rm -f "$1/fill"; }
left() { (cd "$1" && ls -A | grep -vx fill | tr '\n' ' '); }
leaves() { [ "$(left "$1")" = "${2-}" ] || { left "$1"; false; }; }
# refused_full PLACE LEFT COMMAND…: DISK_FULL of that place, with a command that can be copied; and what is there then.
refused_full() {
    local place=$1 kept=$2; shift 2
    exit_code_is 1 "$@" && said "DISK_FULL.*that of $place.*next: df -h $small; " && leaves "$place" "$kept"
}
mode_is() { [ "$(stat -c %a "$2")" = "$1" ]; }

demo_config "url = \"dir://$demo/vault\""
sed -i "s|^kek_file = .*|kek_file = \"$small/kek\"|" "$demo/causeway.toml"
fill "$small"
check "a vault whose key file finds no room is not made, and no part of a key stays" refused_full "$small" "" cli vault create
room "$small"
# What a run that was killed left beside it.
head -c 7 /dev/zero >"$small/kek.0123456789abcdef.new" && chmod 400 "$small/kek.0123456789abcdef.new"
check "with room it is made" exit_code_is 0 cli vault create
check "with one whole key, and nothing beside it" leaves "$small" "kek "
check "which its owner alone may read" mode_is 400 "$small/kek"
cp -p "$small/kek" "$demo/first-kek"
fill "$small"
check "a change of the key without room" refused_full "$small" "kek " cli keys rotate
room "$small"
check "with room the key is changed" exit_code_is 0 cli keys rotate
check "the old key is kept whole" cmp -s "$small"/kek.until-* "$demo/first-kek"
check "the new key opens the vault" exit_code_is 0 cli keys
cp -p "$small/kek" "$demo/kek" && rm -f "$small"/*
sed -i "s|^kek_file = .*|kek_file = \"$demo/kek\"|" "$demo/causeway.toml"

fill "$small"
check "a kit" refused_full "$small" "" cli keys kit --out "$small/kit"
check "a certificate" refused_full "$small" "" cli pki issue "$demo/pki" --role machine --name q --out "$small/q"
check "an authority" refused_full "$small/pki" "" cli pki init "$small/pki"
rmdir "$small/pki"
check "a support bundle" refused_full "$small" "" cli support-bundle --output "$small/bundle"
head -c 1M /dev/zero >"$demo/old.img"; head -c 1M /dev/urandom >"$demo/disk.img"
check "a replica log between two images" refused_full "$small" "" \
    causeway-agent hrl-diff --from "$demo/old.img" --to "$demo/disk.img" --output "$small/d.hrl"
for format in raw qcow2 vhdx; do
    check "a seed as $format" refused_full "$small" "" causeway-agent seed export --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/seed-state" --disk "$demo/disk.img" --disk-name disk --output "$small/s.$format" \
        --format $format
done
room "$small"

# A master target has no vault; what it keeps is in its state directory.
causeway pki issue "$demo/pki" --role master-target --name site --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|; s|^url = .*|url = \"\"|
    s|^state_dir = .*|state_dir = \"$records/state\"|" "$demo/causeway.toml"
truncate -s 1M "$demo/target.img"
printf '[[target]]\nmachine = "%s"\ndisk = "disk"\npath = "%s"\n' "$demo_machine" "$demo/target.img" >>"$demo/causeway.toml"
# Each time a file system of its own: what an ended daemon had open through io_uring may be given back a little later.
for free in 4096 8192; do
    umount -l "$records" 2>/dev/null
    mount -t tmpfs -o size=1m records "$records" && fill "$records" $free || die "no tmpfs"
    check "a master target's first start with $free bytes of room" exit_code_is 1 timeout 60 causewayd --config "$demo/causeway.toml"
    check "names the state directory's file system" said "DISK_FULL.*that of $records/state.*next: df -h $records; "
    room "$records"
    check "with room it starts" demo_start_server
    kill "$demo_server_pid"; wait "$demo_server_pid"
done
: >"$records/state/records.kek"
check "with a damaged key of its records it starts: what it takes needs none" demo_start_server
check "a verb that needs them says so" exit_code_is 1 cli machines "$demo_machine"
check "by the key's own name" said "KEY_UNAVAILABLE.*next: put $records/state/records.kek back"
kill "$demo_server_pid"; wait "$demo_server_pid"
: >"$records/state/records/keys/vault"
check "with its records damaged it starts as well" demo_start_server
check "and says what is damaged" eval 'cli status | says "OBJECT_CORRUPT.*records"'
cases_end
