#!/usr/bin/env bash
# No room where a command writes (an image, a scratch directory): it is said of that place, with what there is and what is
# needed, and not of a server's cache or of the medium. Usage: output_full.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
demo_begin
demo_interval=1s
head -c 4M /dev/urandom > "$demo/given.img"
demo_image_from "$demo/given.img" >/dev/null
demo_server >/dev/null
demo_agent
demo_wait_points 1 >/dev/null
demo_stop_agent

mkdir "$demo/small"
on_small_disk() {
    unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=1m small "$0" && cd "$0" && exec "$@"' "$demo/small" \
        causeway --config "$demo/causeway.toml" "$@"
}
names_small_disk() {
    said "DISK_FULL.*the file system that is written to is full: .*that of $demo/small.* may take .*; next: .*free some space there" &&
        ! said_anything 'uplink\|smartctl\|the cache disk'
}
said_anything() { grep -q "$1" "$demo/last.out"; }
check "an export without room" exit_code_is 1 on_small_disk export "$demo_machine" --output "$demo/small/out.img"
check "names the place" names_small_disk
check "an export as qcow2 without room" exit_code_is 1 on_small_disk export "$demo_machine" --format qcow2 --output "$demo/small/out.qcow2"
check "as well" names_small_disk
check "one to a relative path" exit_code_is 1 on_small_disk export "$demo_machine" --output out.img
check "as well" names_small_disk
check "a drill without room" exit_code_is 1 on_small_disk drill "$demo_machine" --scratch "$demo/small"
check "as well" names_small_disk
cli jobs >"$demo/last.out" 2>&1
check "its job says so, too" names_small_disk
overlay_on_small_disk() { TMPDIR=$demo/small on_small_disk "$@"; }
check "a writable mount without room for what is written" exit_code_is 1 overlay_on_small_disk mount "$demo_machine" --writable \
    --run 'qemu-io -f raw -c "write 0 4M" $uri'
check "names where that is" said "DISK_FULL.*that of $demo/small.*next: df -h $demo/small; .*TMPDIR"
check "a command in a mount that fails by itself" exit_code_is 1 cli mount "$demo_machine" --writable --run 'exit 7'
check "is believed" said "ended with 7; next: see what the command said"
check "causeway-restore without room" exit_code_is 1 unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=1m small "$0" && exec "$@"' \
    "$demo/small" causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" restore --machine "$demo_machine" --output "$demo/small/out.img"
check "as well" names_small_disk

cases_end
