#!/usr/bin/env bash
# A master target's image while something is collected for it: a virtual machine that is started from it is refused, and what
# asks for no lock and writes is noticed before anybody relies on a point.
# Usage: target_held.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

demo_begin
ordered_seed
demo_config "url = \"\""
causeway pki issue "$demo/pki" --role master-target --name b --host localhost,127.0.0.1 --out "$demo/pki/target" >/dev/null
sed -i "s|pki/server\.|pki/target.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
ordered_image 32
target=$demo/target.img
cp "$demo_image" "$target"
before=$(sum_of "$target")
printf '[[target]]\nmachine = "%s"\ndisk = "disk"\npath = "%s"\n' "$demo_machine" "$target" >> "$demo/causeway.toml"
demo_start_server
ordered_agent
ordered_writer 100
ordered_protect
note_point one committed || die "no point: $(tail -n 1 "$demo/points.log")"

# start_machine: as any virtual machine opens its disk.
start_machine() { qemu-io -f raw -c "write -P 0xee 30M 64k" "$target"; }
refused_for_its_lock() { ! start_machine >"$demo/last.out" 2>&1 && said 'lock'; }
check "a machine that is started from it is refused" refused_for_its_lock
check "it can be read all the same" exit_code_is 0 qemu-img convert -f raw -O raw "$target" "$demo/copy.img"
check "and is as it was" test "$(sum_of "$target")" = "$before"

# What asks nobody.
dd if=/dev/urandom of="$target" bs=64k seek=481 count=1 conv=notrunc status=none
sum=$(sum_of "$target")
writer_go
check "no point is made over what somebody else wrote" eval '! note_point two committed'
condition_stands() { cli --json status | says '"TARGET_UNSAFE"'; }
check "people hear of it" condition_stands
check "a failover is refused" eval '! cli failover "$demo_machine" >"$demo/last.out" 2>&1 && said "written to by somebody else"'
check "and says how to go on" said 'causeway target cancel'
check "nothing was written" test "$(sum_of "$target")" = "$sum"

check "what was collected is given up" exit_code_is 0 cli target cancel "$demo_machine" disk
check "then nothing stands any more" eval '! condition_stands'
writer_go
wait_for 180 "protection" agent_protects
noted() { writer_go; note_point three committed; }
wait_for 60 "a point" noted
truth=$ordered_truth
writer_end
demo_stop_agent
check "the failover makes it the point" exit_code_is 0 cli failover "$demo_machine"
check "byte for byte" test "$(sum_of "$target")" = "$truth"
check "and it is let go: a machine starts from it" exit_code_is 0 start_machine
cases_end
