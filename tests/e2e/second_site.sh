#!/usr/bin/env bash
# Two sites without any vault: A is protected on a master target at B, fails over to B, is protected in reverse on a
# master target at A, and fails back; also with nothing written in between. Usage: second_site.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

mb=32
is_same() { [ "$(sum_of "$1")" = "$2" ]; }
site() { demo=$home/$1; }  # What demo.sh and ordered.sh call $demo.
points_of_target() { cli --json points "$demo_machine" 2>/dev/null | sed -n 's/.*"id": *"\([0-9a-f-]*\)".*/\1/p'; }
target_number() { cli --json target list 2>/dev/null | json_number "$1"; }
status_shows_target() { cli status 2>/dev/null | says "disk.img  collecting"; }
conditions_are_none() { ! cli --json status | sed '1,/"conditions"/d' | says '"code"'; }

# make_site NAME: a master target that writes $home/NAME/disk.img.
make_site() {
    mkdir -p "$home/$1"
    site "$1"
    demo_config "url = \"\""
    causeway pki issue "$demo/pki" --role master-target --name "$1" --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
    sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
}
add_target() { printf '[[target]]\nmachine = "%s"\ndisk = "disk"\npath = "%s"\n' "$demo_machine" "$1" >> "$demo/causeway.toml"; }

# protect FROM TO: the agent at FROM sends FROM's disk to the master target at TO. Leaves the site set to TO.
protect() {
    demo=$home/$2
    demo_image=$home/$1/disk.img
    demo_agent_pid=
    rm -f "$demo/nbd.sock"
    ordered_agent
    wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
    wait_for 300 "the synchronisation $1 to $2" agent_protects
    # It must also be told to people.
    wait_for 180 "a status that shows the target" status_shows_target
}
# Until at least that many writes were made in all.
write_until() {
    while writer_pause; [ "$ordered_writes" -lt "$1" ]; do
        writer_go
        sleep 0.1
    done
}

demo_begin
home=$demo
ordered_seed
make_site b; machine_b=$demo_machine
add_target "$home/b/disk.img"
make_site a; machine_a=$demo_machine
add_target "$home/a/disk.img"

site a
ordered_image $mb
head -c $((mb / 2))M /dev/urandom > "$home/a/disk.img"; truncate -s ${mb}M "$home/a/disk.img"
truncate -s ${mb}M "$home/b/disk.img"  # The second site begins with an empty disk.

# 1. Protect A at B, write, fail over at B to the newest point.
site b; demo_machine=$machine_b
demo_start_server; port_b=$demo_port
protect a b
ordered_writer 100
write_until 20
check "a point of A at B" note_point one committed
write_until 40
check "another point of A at B" note_point two committed
two=$ordered_truth
check "the same verb lists the points of a master target" test "$(points_of_target | wc -l)" -ge 2
check "the same verb verifies them" cli verify "$demo_machine"
check "it names each as intact" test "$(cli verify "$demo_machine" | grep -c '  intact$')" -ge 2
undo=$(find "$home/b/state" -name 'undo.*' -printf '%s %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)  # The longest.
flip() { python3 -c 'import sys
with open(sys.argv[1], "r+b") as log:
    log.seek(2 * 4096)
    byte = log.read(1)
    log.seek(2 * 4096)
    log.write(bytes([byte[0] ^ 1]))' "$undo"; }
flip
check "what a damaged way back leads to is called unusable" eval '! cli verify "$demo_machine" >"$demo/verify.log" 2>&1'
check "what it does not need is intact" test "$(grep -c '  unusable$' "$demo/verify.log")" -ge 1 -a "$(grep -c '  intact$' "$demo/verify.log")" -ge 1
flip
check "all are intact again" cli verify "$demo_machine"
writer_end
demo_stop_agent
check "A's disk is what its writer says" is_same "$home/a/disk.img" "$two"
check "an unknown point is not found" test "$(cli failover "$demo_machine" --point 00000000 >/dev/null 2>&1; echo $?)" -eq 4
check "failover at B" cli failover "$demo_machine" --point latest
check "B's disk is A's at the point" is_same "$home/b/disk.img" "$two"

# 2. Reverse, with nothing written on either side: nothing but digests travels, nothing changes, nobody complains.
site a; demo_machine=$machine_a
demo_start_server
protect b a
echo "reverse protection without writes: $(target_number blocks_compared) blocks compared, $(target_number taken_bytes) bytes taken"
check "every block was compared, none was sent" test "$(target_number blocks_compared)" -eq $((mb * 16)) -a "$(target_number taken_bytes)" -eq 0
check "no conflict, no trouble" wait_for 180 "a status without conditions" conditions_are_none
check "a point of B at A" causeway-agent point --state "$demo/agent" --wait committed --timeout 150s
demo_stop_agent
check "failback at A" cli failover "$demo_machine" --point latest
check "A's disk has not changed" is_same "$home/a/disk.img" "$two"

# 3. B goes on being written; A takes the reverse stream again, and fails back to what B is then.
check "A becomes a target again" cli target cancel "$demo_machine" disk
protect b a
ordered_seed=$((ordered_seed + 1))  # Another one: the same would write again what is there.
ordered_writer 100
write_until 20
check "a point of B's writes at A" note_point three committed
three=$ordered_truth
writer_end
demo_stop_agent
check "B has changed" test "$three" != "$two"
check "failback at A with the differences" cli failover "$demo_machine" --point latest
check "A's disk is B's" is_same "$home/a/disk.img" "$three"

# 4. A is protected at B once more: only digests travel; the points at B go on.
site b; demo_machine=$machine_b demo_port=$port_b
check "B becomes a target again" cli target cancel "$demo_machine" disk
protect a b
echo "protected again: $(target_number taken_bytes) bytes taken since B's daemon started, $(target_number blocks_compared) blocks compared"
check "a point of A at B again" causeway-agent point --state "$demo/agent" --wait committed --timeout 150s
demo_stop_agent
check "B's disk is untouched" is_same "$home/b/disk.img" "$three"
demo=$home
cases_end
