#!/usr/bin/env bash
# The verbs of a vault at a second site without one: machines, jobs, export, mount, drill, failover to files and in place,
# another point, undo, commit, reprotect, while the master target goes on receiving; a verb that is killed; an order that
# is not allowed. Usage: second_site_verbs.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

mb=16
is_same() { [ "$(sum_of "$1")" = "$2" ]; }
id_of_newest() { cli --json points "$demo_machine" | python3 -c 'import json, sys; print(json.load(sys.stdin)[-1]["id"])'; }
has_point() { cli --json points "$demo_machine" | says "\"id\": \"$1\""; }
has_no_point() { ! has_point "$1"; }
state_is() { cli machines "$demo_machine" > "$demo/last.out" && grep -q "  state $1," "$demo/last.out" || { cat "$demo/last.out"; false; }; }
job_is() { cli --json jobs --machine "$demo_machine" | says "\"state\": \"$1\""; }
refused() { exit_code_is 3 cli "$@" && said TRANSITION_REFUSED; }
phase_is() { cli target list | says "target.img  $1\$"; }

# point TAG: leaves its id in $point and what the disk was in $ordered_truth.
point() {
    note_point "$1" committed || die "no point $1 (see $demo/points.log)"
    point=$(id_of_newest)
}
write_until() {
    while writer_pause; [ "$ordered_writes" -lt "$1" ]; do
        writer_go
        sleep 0.1
    done
}
restart_server() {
    kill "$demo_server_pid"
    wait "$demo_server_pid" 2>/dev/null
    demo_start_server
    wait_for 180 "the agent's session" agent_live
}

demo_begin
ordered_seed
demo_config "url = \"\""
causeway pki issue "$demo/pki" --role master-target --name second-site --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
printf '[[target]]\nmachine = "%s"\ndisk = "disk"\npath = "%s"\n' "$demo_machine" "$demo/target.img" >> "$demo/causeway.toml"
ordered_image $mb
truncate -s ${mb}M "$demo/target.img"
demo_start_server
ordered_pin_port
ordered_agent
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
ordered_writer 200
wait_for 300 "the initial synchronisation" agent_protects
write_until 20
point one; one=$point one_truth=$ordered_truth
write_until 60
point two; two=$point two_truth=$ordered_truth

# What is not allowed, before anything was done.
check "the machine is known" eval 'cli machines | says "$demo_machine"'
check "it is protected" state_is protected
check "its points have the tags that they were made with" test "$(vault_points | tr '\n' ' ')" = "one $one two $two "
check "none of them is of an application" exit_code_is 4 cli export "$demo_machine" --point latest-app --output "$demo/app.img"
check "a commit of nothing is refused" refused commit "$demo_machine"
check "so is giving up nothing" refused undo-failover "$demo_machine"
check "so is a reprotection" refused reprotect "$demo_machine"
# What is of a vault alone says so, and what there is instead.
for verb in keys "keys kit" "keys retire $demo/none" "keys rotate" cost servers "servers discard $demo_machine --yes" \
    "move $demo_machine --to other" gc "vault create"; do
    check "$verb: there is no vault" eval "exit_code_is 2 cli $verb && said 'USAGE.*this is a master target, which has no vault: '"
done
fences=$(fences_begun)
check "a resync is ordered" exit_code_is 0 cli resync "$demo_machine"
check "its disk is compared again" wait_for 180 "the comparison" eval '[ "$(fences_begun)" -gt "$fences" ]'
check "because it was ordered" eval 'grep agent.disk.welcome "$demo/agent.log" | tail -n 1 | says "ordered by an operator"'
wait_for 300 "protection after the comparison" agent_protects
check "one by the disk's id for tomorrow, too" exit_code_is 0 cli resync \
    "$(cli --json disks "$demo_machine" | sed -n 's/.*"disk": *"\([0-9a-f-]*\)".*/\1/p')" --at 2999-01-01T00:00:00Z
check "it says when" said '2999-01-01'
check "one of a machine without a target is not found" exit_code_is 4 cli resync 00000000-0000-0000-0000-000000000001
check "an identity is admitted again as at a process server" exit_code_is 0 cli servers forgive "$demo_machine"
check "a machine without a target is not found" exit_code_is 4 cli machines 00000000-0000-0000-0000-000000000001

# Export and mount, while writes and points go on.
check "an export of an earlier point" exit_code_is 0 cli export "$demo_machine" --point "$one" --output "$demo/one.img" --verify
check "is the disk at that point" is_same "$demo/one.img" "$one_truth"
check "an export through qemu-img" exit_code_is 0 cli export "$demo_machine" --format qcow2 --output "$demo/two.qcow2"
check "is the newest point" eval 'qemu-img convert -f qcow2 -O raw "$demo/two.qcow2" "$demo/two.img" && is_same "$demo/two.img" "$two_truth"'
causeway --config "$demo/causeway.toml" --json mount "$demo_machine" "$one" --socket "$demo/one.sock" > "$demo/mount.json" 2>>"$demo/mount.log" &
mounted=$!
demo_pids+=($mounted)
wait_for 120 "the mount" test -s "$demo/mount.json"
read_mount() { rm -f "$demo/mounted.img"; qemu-img convert -f raw -O raw "nbd+unix:///?socket=$demo/one.sock" "$demo/mounted.img"; }
check "a mount is the disk at its point" eval 'read_mount && is_same "$demo/mounted.img" "$one_truth"'
write_until 120
point three; three=$point three_truth=$ordered_truth
writer_go
check "it stays that while points are merged" eval 'read_mount && is_same "$demo/mounted.img" "$one_truth"'
writes='qemu-io -f raw -c "write -P 9 1M 64k" -c "read -P 9 1M 64k" "$uri" | grep -v failed | grep wrote >/dev/null'
check "a writable mount takes writes" exit_code_is 0 cli mount "$demo_machine" "$two" --writable --run "$writes"
check "and forgets them" eval 'cli export "$demo_machine" --point "$two" --output "$demo/again.img" && is_same "$demo/again.img" "$two_truth"'

# Without any retention a point lives as long as it is read.
sed -i 's/^interval = .*/&\ntarget_retention = "0s"/' "$demo/causeway.toml"
restart_server
write_until 160
point four; four=$point four_truth=$ordered_truth
check "a point that is read is kept beyond its time" has_point "$one"
check "it is what it was" eval 'read_mount && is_same "$demo/mounted.img" "$one_truth"'
kill $mounted
wait $mounted
write_until 200
point five; five=$point five_truth=$ordered_truth
check "a point that nobody reads goes in time" has_no_point "$one"
check "the held one is there" has_point "$five"
sed -i '/^target_retention/d' "$demo/causeway.toml"
restart_server

# A drill, its receipt, and the alarm that there was none.
overdue() { cli --json status | says PROOF_OVERDUE; }
not_overdue() { ! overdue; }
limit_is() { sed -i '/^proof_limit/d; s/^interval = .*/&\nproof_limit = "'"$1"'"/' "$demo/causeway.toml" && cli config reload >/dev/null; }
limit_is 1000h
wait_for 180 "PROOF_OVERDUE" overdue
pass "a machine that was never proven raises PROOF_OVERDUE"
mkdir "$demo/scratch"
check "a drill that proves nothing fails its timer's unit" exit_code_is 3 cli drill "$demo_machine" --receipt "$demo/receipt.json" --scratch "$demo/scratch"
check "it found no file system to check, and says so" said 'does not count as proven'
check "and what would prove it" said 'next: causeway drill .* --boot .* --bytes-suffice'
check "it leaves a receipt" exit_code_is 0 cli drill --check "$demo/receipt.json"
check "and does not count" eval 'cli machines "$demo_machine" | says "proven point: none"'
check "unless bytes are enough" exit_code_is 0 \
    cli drill "$demo_machine" --bytes-suffice --receipt "$demo/receipt.json" --scratch "$demo/scratch"
check "saw the disk as it was" grep -q "sha256 $five_truth" "$demo/receipt.json"
check "left nothing behind" test -z "$(ls -A "$demo/scratch")"
check "its receipt is genuine" exit_code_is 0 cli drill --check "$demo/receipt.json"
sed 's/"bytes": [0-9]*/"bytes": 1/' "$demo/receipt.json" > "$demo/forged.json"
check "a forged one is not" exit_code_is 1 cli drill --check "$demo/forged.json"
check "the machine knows its newest proven point" eval 'cli machines "$demo_machine" | says "proven point: $five"'
limit_is 999h  # It looks at once.
wait_for 180 "the end of PROOF_OVERDUE" not_overdue
pass "a drill whose bytes are enough ends PROOF_OVERDUE"

# Failover to files: another point may be chosen until the commit.
write_until 240
point six; six=$point six_truth=$ordered_truth
# What the daemon holds above the newest point is known to it alone.
kill -STOP "$demo_server_pid"
check "a planned failover beside a daemon that stands still is refused" refused failover "$demo_machine" --planned --wait 1s --output "$demo/planned.img"
kill -CONT "$demo_server_pid"
check "because nobody knows what it would lose" said "what it has taken since is not known"
check "and nothing was written" test ! -e "$demo/planned.img"
check "failover to a file" exit_code_is 0 cli failover "$demo_machine" --point "$five" --output "$demo/over.img"
check "it is the point" is_same "$demo/over.img" "$five_truth"
check "the machine is failed over" state_is failed-over
mkdir "$demo/out"
check "another point may be chosen" exit_code_is 0 cli failover "$demo_machine" --point "$six" --output-dir "$demo/out"
check "and its disk has the name that it is known by" is_same "$demo/out/disk.img" "$six_truth"
check "it can be given up" exit_code_is 0 cli undo-failover "$demo_machine"
check "then the machine is protected" state_is protected
check "the target has gone on all the while" eval 'phase_is collecting && has_point "$six"'
check "failover again" exit_code_is 0 cli failover "$demo_machine" --point "$six" --output "$demo/over.img" --force
check "the choice is made final" exit_code_is 0 cli commit "$demo_machine"
check "then another point is refused" refused failover "$demo_machine" --point "$five" --output "$demo/late.img"
check "nothing was written" test ! -e "$demo/late.img"
check "reprotection waits for the machine that runs now" exit_code_is 0 cli reprotect "$demo_machine"
check "and says for what" said "^waits: "
check "the old source's points do not count" state_is reprotecting

# The machine runs from the file now; its agent begins anew, and its points come here.
writer_end
demo_stop_agent
mv "$demo/agent" "$demo/agent.old"
mv "$demo/over.img" "$demo/disk.img"
rm -f "$demo/nbd.sock"
ordered_agent
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
wait_for 300 "the synchronisation of the machine that runs now" agent_protects
ordered_seed=$((ordered_seed + 1))
ordered_writer 200
write_until 20
point seven; seven=$point seven_truth=$ordered_truth
check "once it has a point, the machine is reprotected" exit_code_is 0 cli reprotect "$demo_machine"
check "that is its state" state_is reprotected
check "it may stay where it is" exit_code_is 0 cli commit "$demo_machine"
check "and is protected as before" state_is protected

# Failover in place. The verb dies when it has given its orders; the daemon goes on, and the verb is said again.
write_until 40
point eight; eight=$point eight_truth=$ordered_truth
writer_go
CAUSEWAY_CRASH_POINT=second_site.ordered:1 causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$seven" >>"$demo/cli.log" 2>&1
check "what a killed verb has left is called interrupted" job_is interrupted
restart_server_after_switch() {
    wait_for 180 "the switch" phase_is done
    kill "$demo_server_pid"
    wait "$demo_server_pid" 2>/dev/null
    demo_start_server
}
restart_server_after_switch
check "also after a start of the daemon" job_is interrupted
check "the verb is said again" exit_code_is 0 cli failover "$demo_machine" --point "$seven"
check "the target is the point" is_same "$demo/target.img" "$seven_truth"
check "the machine is failed over in place" state_is failed-over
check "its disk cannot become another point" exit_code_is 4 cli failover "$demo_machine" --point "$eight"
check "the failover stands" state_is failed-over
check "there is nothing to be read from it any more" exit_code_is 3 cli export "$demo_machine" --output "$demo/none.img"
check "given up, its disk is a target again" exit_code_is 0 cli undo-failover "$demo_machine"
check "that collects" phase_is collecting
check "and the machine is protected" state_is protected
new_point() {  # The first may be made before the agent knows: it is never committed.
    writer_pause
    causeway-agent point --state "$demo/agent" --wait committed --timeout 3s >>"$demo/points.log" 2>&1 && phase_is collecting &&
        [ "$(cli --json points "$demo_machine")" != "[]" ] && return
    writer_go
    false
}
wait_for 300 "a point of the target that collects again" new_point
check "its newest point is the disk as it is" eval 'cli export "$demo_machine" --output "$demo/last.img" && is_same "$demo/last.img" "$ordered_truth"'

# A planned failover whose verb and daemon die: what was taken before the daemon's start is known all the same.
writer_end
demo_stop_agent
CAUSEWAY_CRASH_POINT=second_site.ordered:1 causeway --config "$demo/causeway.toml" failover "$demo_machine" --planned >>"$demo/cli.log" 2>&1
check "a planned failover that was killed is interrupted" job_is interrupted
restart_server_after_switch
check "what the machine is until then is what its verbs find" state_is protected
check "it is said again, and waits for nothing" exit_code_is 0 cli failover "$demo_machine" --planned --wait 1s
check "nothing of the machine is lost" is_same "$demo/target.img" "$ordered_truth"
check "and it is failed over" state_is failed-over

# A daemon that dies while it is ordered: the verb waits for the next one, and ends well.
again_a_point() {
    causeway-agent point --state "$demo/agent" --wait committed --timeout 3s >>"$demo/points.log" 2>&1 &&
        [ "$(cli --json points "$demo_machine")" != "[]" ]
}
collect_again() {
    rm -f "$demo/nbd.sock"
    ordered_agent
    wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
    wait_for 120 "a point after another return" again_a_point
    demo_stop_agent
}
# waits_at CRASH_POINT: a failover in place, $patient, whose daemon has died there.
waits_at() {
    kill "$demo_server_pid"
    wait "$demo_server_pid" 2>/dev/null
    CAUSEWAY_CRASH_POINT=$1:1 demo_start_server
    causeway --config "$demo/causeway.toml" failover "$demo_machine" >"$demo/patient.out" 2>&1 &
    patient=$!
    demo_pids+=($patient)
    wait_for 60 "the daemon's death" eval '! kill -0 "$demo_server_pid" 2>/dev/null'
    wait "$demo_server_pid" 2>/dev/null
    wait_for 60 "the verb to wait" grep -q 'waiting for it' "$demo/patient.out"
}
check "given up once more, its disk is a target again" exit_code_is 0 cli undo-failover "$demo_machine"
collect_again
waits_at volume.switched
check "while it waits, nobody gives its target up" refused target cancel "$demo_machine" disk
check "and is told what is at work" said "job .* (failover, process $patient on .*next: causeway jobs"
demo_start_server
check "a failover outlives the daemon that it orders" wait "$patient"
check "it said what it waited for" grep -q 'the daemon ended while it was ordered to switch: waiting for it' "$demo/patient.out"
check "the target is the newest point" is_same "$demo/target.img" "$ordered_truth"
check "and the machine is failed over" state_is failed-over

# Who does not want to wait any longer is told what happens all the same, and how it ends.
kill "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
CAUSEWAY_CRASH_POINT=volume.cancelled:1 demo_start_server
check "to give it up fails with the daemon" exit_code_is 5 cli undo-failover "$demo_machine"
check "it says what may be so already, and what to say then" said "some targets may have been given up already; next: causeway undo-failover $demo_machine again"
wait "$demo_server_pid" 2>/dev/null
demo_start_server
check "the machine is still failed over" state_is failed-over
check "it says that its target is not" grep -q '  not every target is that point any more' "$demo/last.out"
check "nobody makes that final" refused commit "$demo_machine"
check "and is told what to do" said "next: causeway undo-failover"
check "given up again, it is" exit_code_is 0 cli undo-failover "$demo_machine"
check "the machine is protected" state_is protected
collect_again
waits_at volume.copied
kill -TERM $patient
check "a failover in place that is interrupted fails" eval 'wait $patient; [ $? = 1 ]'
check "it says what the targets become, and what to say then" \
    grep -q "CANCELLED.*become the point all the same: $demo/target.img; next: causeway failover $demo_machine --point .*undo-failover" "$demo/patient.out"
check "the machine is protected" state_is protected
check "it says that targets take no writes" grep -q "  targets take no writes" "$demo/last.out"
check "and which" grep -q "    $demo/target.img is .*: point " "$demo/last.out"
check "and the commands that end that" grep -q "next: causeway failover $demo_machine --point .*causeway target cancel $demo_machine DISK" "$demo/last.out"
check "so does the refusal to give up what is not there" refused undo-failover "$demo_machine"
check "with the same words" said "next: causeway failover $demo_machine --point .*causeway target cancel"
demo_start_server
wait_for 180 "the switch" phase_is done
check "said again, it comes to its end" exit_code_is 0 cli failover "$demo_machine"
check "and the machine is failed over" state_is failed-over

# What somebody gives up through the daemon, while it waits, is not recorded as brought back.
check "given up a fourth time" exit_code_is 0 cli undo-failover "$demo_machine"
collect_again
waits_at volume.copied
kill -STOP $patient
demo_start_server
wait_for 180 "the switch" phase_is done
curl -sf --max-time 60 --unix-socket "$demo/state/control.sock" -X POST --data "{\"machine\": \"$demo_machine\", \"disk\": \"disk\"}" \
    http://causeway/v1/target/cancel >/dev/null || die "the target cannot be given up"
kill -CONT $patient
check "a failover whose target somebody gave up fails" eval 'wait $patient; [ $? -gt 2 ]'
check "the machine is protected" state_is protected
check "and its target collects" phase_is collecting

# Somebody has made the target a point beside any failover: who does not name that point is not brought back there.
collect_again
chosen=$(cli points "$demo_machine" | tail -n 1 | cut -d ' ' -f 1)
check "a target is made a point" exit_code_is 0 cli target switch "$demo_machine" disk --point "$chosen"
wait_for 180 "the switch" phase_is done
check "a failover that names no point is refused" refused failover "$demo_machine"
check "and told which point it would be, and how to say so" \
    said "$demo/target.img is done, point $chosen, and no failover in place on record has chosen that: say --point POINT; next: causeway failover $demo_machine --point $chosen"
check "the machine is protected" state_is protected
check "one to files finds nothing that can be read" exit_code_is 3 cli failover "$demo_machine" --output "$demo/switched.img"
check "and says how that ends" said "TARGET_SWITCHING.*next: causeway undo-failover MACHINE, or causeway target cancel"
check "that it was tried chooses nothing" refused failover "$demo_machine" --point latest
check "named, in letters of either case, it is brought back" exit_code_is 0 cli failover "$demo_machine" --point "${chosen^^}"
check "the machine is failed over in place" state_is failed-over
check "it is given up" exit_code_is 0 cli undo-failover "$demo_machine"
collect_again
check "a failover to a file" exit_code_is 0 cli failover "$demo_machine" --output "$demo/files.img"
check "the options of files are of no use in place" exit_code_is 2 cli failover "$demo_machine" --disk disk
chosen=$(cli points "$demo_machine" | tail -n 1 | cut -d ' ' -f 1)
check "then a target is made a point" exit_code_is 0 cli target switch "$demo_machine" disk --point "$chosen"
wait_for 180 "the switch" phase_is done
check "no failover in place has chosen that either" refused failover "$demo_machine"
check "neither is a time the name of a point" refused failover "$demo_machine" --point 2999-12-31T00:00:00Z
check "the machine is failed over to the file" state_is failed-over
check "and that is committed" exit_code_is 0 cli commit "$demo_machine"
check "then a failover is refused" refused failover "$demo_machine"
check "for what the machine is" said "the machine is committed"
check "jobs tell all of it" eval '[ "$(cli --json jobs | grep -c "\"verb\"")" -ge 10 ]'
cases_end
