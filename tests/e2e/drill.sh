#!/usr/bin/env bash
# A drill proves a point and says so in writing: file systems are checked, a guest boots, the receipt stands on its own;
# a corrupted point fails. Plans run in order, stop where they must and go on. Doctor and support bundle.
# Usage: drill.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh


demo_begin
demo_interval=1s
guest_image "$demo/guest.img" || die "no guest image"
demo_image_from "$demo/guest.img"
demo_server
demo_agent
demo_wait_points 2
demo_stop_agent
mkdir "$demo/scratch"
last=$(demo_point_ids | tail -n 1)

check "a drill boots the point and checks its file systems" exit_code_is 0 \
    cli drill "$demo_machine" --boot --expect "LINE 1 " --boot-timeout 600s --receipt "$demo/receipt.json" --scratch "$demo/scratch"
cat "$demo/last.out"
check "the file system was checked" said 'partition 2: ext4: .* (e2fsck -f -p)'
check "and the one it boots from" said 'partition 1: vfat: .* (fsck.fat -n)'
check "the guest's console was seen" said 'the console said'
check "nothing is left behind" test -z "$(ls -A "$demo/scratch")"
check "the receipt is genuine" exit_code_is 0 cli drill --check "$demo/receipt.json"
check "it names the point" said "$last"
check "and what checked each partition" eval 'said "\"tool\": *\"e2fsck -f -p\"" && said "\"tool\": *\"fsck.fat -n\""'
# File systems that nobody here knows: no tool checks them.
mkdir "$demo/tools"
printf '#!/bin/sh\nexit 2\n' > "$demo/tools/blkid" && chmod +x "$demo/tools/blkid"
drill_of_unknown() { PATH=$demo/tools:$PATH cli "${@:2}" drill "$demo_machine" --scratch "$demo/scratch" $1; }
check "a drill that could check nothing proves nothing, and fails its timer's unit" exit_code_is 3 \
    drill_of_unknown "--receipt $demo/bytes.json"
check "it says what was not checked" said 'partition 2: not checked'
check "and what would prove it" said "next: causeway drill $demo_machine --point $last --boot .* --point $last --bytes-suffice"
check "it leaves a receipt" exit_code_is 0 cli drill --check "$demo/bytes.json"
check "a monitor reads it as well" exit_code_is 3 drill_of_unknown "" --json
check "its receipt takes no better one's place" test -e "$demo/state/receipts/$demo_machine-$last-bytes.json" -a ! -e "$demo/state/receipts/$demo_machine-$last.json"
check "by name" eval "said '\"proven\": *false' && said '\"next\": *\"causeway drill'"
check "unless its bytes are enough" exit_code_is 0 drill_of_unknown --bytes-suffice
drill_for() { cli drill "$demo_machine" --bytes-suffice --scratch "$demo/scratch" --receipt "$1" >"$demo/$2.out" 2>&1; }
drill_for "$demo/both.json" one & one=$!
drill_for "$demo/both.json" two & two=$!
wait $one; one=$?
wait $two; two=$?
check "two drills of one point at once both end well" test "$one $two" = "0 0"
check "and leave one receipt, and nothing else" test "$(cd "$demo" && echo both.json*)" = both.json
check "a receipt that cannot be written fails the drill" eval '! drill_for "$demo/scratch" three'
check "its job has ended, too" eval '! cli jobs | says "drill.*\(running\|interrupted\)"'
sed 's/"bytes": [0-9]*/"bytes": 1/' "$demo/receipt.json" > "$demo/forged.json"
check "a forged receipt is not" exit_code_is 1 cli drill --check "$demo/forged.json"
check "the machine knows its newest proven point" bash -c "causeway --config '$demo/causeway.toml' machines $demo_machine | grep -q 'proven point: $last'"
check "a machine of other parts boots it as well" exit_code_is 0 cli drill "$demo_machine" --boot --expect "LINE 1 " --boot-timeout 600s \
    --boot-memory 320MiB --boot-firmware /usr/share/seabios/bios-256k.bin --scratch "$demo/scratch"
check "a firmware that is not there is named" exit_code_is 4 cli drill "$demo_machine" --boot --expect x --boot-firmware "$demo/none" --scratch "$demo/scratch"
check "as is memory without end" exit_code_is 2 cli drill "$demo_machine" --boot --expect x --boot-memory 2048TiB --scratch "$demo/scratch"
check "a console that stays silent fails the drill" exit_code_is 1 \
    cli drill "$demo_machine" --boot --expect "never said" --boot-timeout 8s --scratch "$demo/scratch"
check "by its code" said DRILL_FAILED
check "with what it said on one line" eval '! said "x0[ad]" >/dev/null'
check "in the list of jobs, too" eval '! cli jobs | says "x0[ad]"'

# The alarm of a proof that is too old, by a limit that is taken while the daemon runs.
limit_is() { sed -i '/^proof_limit/d; s/^interval = .*/&\nproof_limit = "'"$1"'"/' "$demo/causeway.toml" && cli config reload >/dev/null; }
overdue() { cli --json status | says PROOF_OVERDUE; }
not_overdue() { ! overdue; }
limit_is 1s
wait_for 180 "PROOF_OVERDUE" overdue
pass "a proof older than the limit raises PROOF_OVERDUE"
limit_is 1000h
wait_for 180 "the end of PROOF_OVERDUE" not_overdue
pass "one within the limit clears it"

# Plans.
cat > "$demo/plan.toml" <<P
name = "demo"
[[group]]
name = "before"
[[group.step]]
name = "prepare"
script = ["/bin/sh", "-c", "echo prepare >> $demo/order"]
[[group]]
name = "machines"
[[group.step]]
name = "disk"
machine = "$demo_machine"
output = "$demo/plan.qcow2"
format = "qcow2"
[[group]]
name = "after"
[[group.step]]
name = "broken"
script = ["/bin/sh", "-c", "echo broken >> $demo/order; test -e $demo/mended"]
[[group.step]]
name = "look"
manual = "Look whether it is there"
[[group.step]]
name = "end"
script = ["/bin/sh", "-c", "echo end >> $demo/order"]
P
check "a plan can be checked before" exit_code_is 0 cli plan check "$demo/plan.toml"
check "a step that fails fails the plan" exit_code_is 1 cli plan run "$demo/plan.toml"
check "by its code and name" said 'PLAN_FAILED.*step broken'
check "the plan is a job that names the step" bash -c "causeway --config '$demo/causeway.toml' jobs | grep -q 'PLAN_FAILED.*broken'"
check "what was done is kept" bash -c "causeway --config '$demo/causeway.toml' plan show '$demo/plan.toml' | grep -q 'done .*disk'"
touch "$demo/mended"
check "mended, it goes on to the manual step and waits" exit_code_is 3 cli plan run "$demo/plan.toml"
check "it says what is to be done" said 'Look whether it is there'
check "confirmed, it ends" exit_code_is 0 cli plan run "$demo/plan.toml" --confirm look
check "each step was run in order, finished ones once" test "$(tr '\n' ' ' < "$demo/order")" = "prepare broken broken end "
check "the disk is there" qemu-img info "$demo/plan.qcow2"
check "run once more, it does not begin over what it brought back" exit_code_is 3 cli plan run "$demo/plan.toml"
check "it says what is in the way, and what to do" said 'FILE_EXISTS.*plan\.qcow2: an earlier run.*move that away'
check "nothing of it was begun" test "$(tr '\n' ' ' < "$demo/order")" = "prepare broken broken end "
check "a check says it on a quiet day" exit_code_is 1 cli plan check "$demo/plan.toml"
check "by name" said 'FILE_EXISTS.*plan\.qcow2; what is there'
mv "$demo/plan.qcow2" "$demo/plan-before.qcow2"
check "moved away, the plan begins anew, up to its manual step" exit_code_is 3 cli plan run "$demo/plan.toml"
check "which waits again" said 'Look whether it is there'
check "the disk is there again" qemu-img info "$demo/plan.qcow2"
printf 'name = "x"\n[[group]]\nname = "g"\n[[group.step]]\nname = "s"\n' > "$demo/bad.toml"
check "a plan with an error is refused before anything" exit_code_is 2 cli plan run "$demo/bad.toml"

# Doctor, bundle, and the rest of a day.
check "doctor finds nothing that fails" exit_code_is 0 cli doctor
cli doctor | sed 's/^/  /'
check "support bundle" exit_code_is 0 cli support-bundle --output "$demo/bundle.json"
check "it holds the jobs" grep -q '"verb": "drill"' "$demo/bundle.json"
leaked=no
for secret in "$demo/kek" "$demo/pki/server.key" "$demo/pki/machine.key" "$demo/pki/ca.key"; do
    grep -v -e '^-----' "$secret" | grep . | while read -r line; do
        ! grep -q -F -- "${line:0:40}" "$demo/bundle.json" "$demo/receipt.json" || echo "$secret is in the bundle"
    done
done | grep . && leaked=yes
check "no secret is in bundle or receipt" test $leaked = no
for verb in "disks $demo_machine" policy keys cost jobs; do
    check "$verb" exit_code_is 0 cli $verb
    check "$verb in JSON" bash -c "causeway --config '$demo/causeway.toml' --json $verb | python3 -m json.tool >/dev/null"
done

# A point with a damaged segment is not proven, and the drill says so.
segment=$(find "$demo/vault" -path '*data*' -type f -size +64k -printf '%s %p\n' | sort -rn | head -n 1 | cut -d' ' -f2-)
python3 - "$segment" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(20000); byte = f.read(1)[0]; f.seek(20000); f.write(bytes([byte ^ 1]))
PY
check "a drill of a corrupted point fails" exit_code_is 1 cli drill "$demo_machine" --scratch "$demo/scratch"
check "by its code" said 'DRILL_FAILED.*OBJECT_CORRUPT'
check "the job keeps the reason" bash -c "causeway --config '$demo/causeway.toml' jobs | grep -q DRILL_FAILED"
mv "$demo/kek" "$demo/kek.away"
check "doctor sees a missing key" exit_code_is 1 cli doctor
cases_end
