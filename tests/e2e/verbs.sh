#!/usr/bin/env bash
# An operator's life: failover, another point, commit, reprotect from the other site, failback; what is not allowed is
# refused; jobs outlive the program that ran them. Usage: verbs.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

field() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1:]: value = value[int(key) if key.lstrip("-").isdigit() else key]
print(value)' "$@"; }
state() { cli --json machines "$demo_machine" | field state; }
state_is() { [ "$(state)" = "$1" ] || { cli machines "$demo_machine"; false; }; }
refused() { exit_code_is 3 cli "$@" && said TRANSITION_REFUSED && said 'allowed now'; }

demo_begin
demo_interval=1s
head -c 8M /dev/urandom > "$demo/given.img" && truncate -s 24M "$demo/given.img"
demo_image_from "$demo/given.img"
demo_server
demo_agent
demo_wait_points 2
demo_stop_agent
mapfile -t points < <(demo_point_ids)
first=${points[0]} last=${points[-1]}

check "a machine begins protected" state_is protected
check "no failover, no commit" refused commit "$demo_machine"
check "no commit, no reprotect" refused reprotect "$demo_machine"

# Formats: each is the point, byte for byte.
truth=$(demo_truth_of "$last")
check "failover to raw" exit_code_is 0 cli failover "$demo_machine" --point "$last" --output "$demo/out.raw" --verify
check "it is the source" test "$(sum_of "$demo/out.raw")" = "$truth"
for format in qcow2 vhdx vmdk vhd; do
    driver=$format; [ $format != vhd ] || driver=vpc
    check "failover to $format" exit_code_is 0 \
        cli failover "$demo_machine" --point "$last" --output "$demo/out.$format" --format $format --verify
    # A fixed VHD is padded to a whole MiB.
    check "$format holds the same disk" exit_code_is 0 \
        qemu-img compare -f raw -F $driver "$demo/out.raw" "$demo/out.$format"
done
check "an existing image is not replaced" exit_code_is 3 \
    cli failover "$demo_machine" --output "$demo/out.qcow2" --format qcow2
check "export records nothing" exit_code_is 0 cli export "$demo_machine" --point "$first" --output "$demo/exported.raw"
check "export is the other point" test "$(sum_of "$demo/exported.raw")" = "$(demo_truth_of "$first")"

check "the machine is failed over" state_is failed-over
check "its point is told" test "$(cli --json machines "$demo_machine" | field point)" = "$last"
check "another point before the commit" exit_code_is 0 cli failover "$demo_machine" --point "$first" --output "$demo/first.raw"
check "its point has changed" test "$(cli --json machines "$demo_machine" | field point)" = "$first"
check "a failover can be given up" exit_code_is 0 cli undo-failover "$demo_machine"
check "then the machine is protected" state_is protected

# A job whose program is killed is interrupted, its state undone by the next.
# Not the function: its shell would be killed, and not the program.
causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$last" --format qcow2 --output "$demo/killed.qcow2" >/dev/null 2>&1 &
killed=$!
for _ in $(seq 600); do
    [ "$(cli --json jobs | field -1 state 2>/dev/null)" = running ] && break
    kill -0 $killed 2>/dev/null || break
done
kill -9 $killed 2>/dev/null; wait $killed 2>/dev/null
job=$(cli --json jobs | field -1 id)
case $(cli --json jobs "$job" | field 0 state) in
    interrupted | succeeded) pass "a killed failover's job is told for what it is" ;;
    *) cli jobs; fail "a killed failover's job is told for what it is" ;;
esac
check "jobs outlive the program" exit_code_is 0 cli jobs "${job:0:8}"
check "an unknown job is not found" exit_code_is 4 cli jobs 00000000

check "planned failover: the point holds every write" exit_code_is 0 \
    cli failover "$demo_machine" --planned --output "$demo/planned.raw"
check "commit" exit_code_is 0 cli commit "$demo_machine"
check "the machine is committed" state_is committed
check "a committed failover is final" refused failover "$demo_machine" --output "$demo/never.raw"
check "a refused failover writes nothing" test ! -e "$demo/never.raw"
check "reprotect waits for the other site" exit_code_is 0 cli reprotect "$demo_machine"
check "it says for what" said 'start the agent'
check "the machine is reprotecting" state_is reprotecting

# The old source's agent, started anew with the state that it had, is not the machine that runs now, although it begins a
# new history, because it cannot prove the old one.
had=$(demo_point_ids | wc -l)
rm "$demo"/agent/*.map
demo_agent
demo_wait_points $((had + 1))
demo_stop_agent
check "the old source has begun a new history" test "$(cli --json points "$demo_machine" | grep -o '"generation": *[0-9]*' | sort -u | wc -l)" -gt 1
check "reprotect goes on waiting" exit_code_is 0 cli reprotect "$demo_machine"
check "it says whom it sees" said 'still sent by the old source, whose agent, demo-machine, was started anew'
check "and what to do" said 'stop that agent, then start the agent on the machine that runs now'
check "the old source is not taken for the machine that runs now" state_is reprotecting

# Nor is it under another name of its disk, whose history is as new as that of the machine that runs now.
cp -a "$demo/agent" "$demo/agent-before"
had=$(demo_point_ids | wc -l)
demo_agent --disk-name other
demo_wait_points $((had + 1))
demo_stop_agent
check "reprotect goes on waiting for every disk of the failover" exit_code_is 0 cli reprotect "$demo_machine"
check "it names the one that is missing" said 'does not have disk.img ('
check "and the one that the failover did not have" said 'it has other ('
check "the renamed disk is not taken for it" state_is reprotecting

# The machine that runs now is protected from the other site: its own state, the same certificate.
cp "$demo/planned.raw" "$demo/disk.img"
rm -rf "$demo/agent"
demo_agent
reprotected() { cli reprotect "$demo_machine" >/dev/null 2>&1; [ "$(state)" = reprotected ]; }
wait_for 180 "a recovery point of the other site" reprotected
pass "reprotected by the first point of the other site"
demo_stop_agent

# It may stay there only as it is protected there: with every disk.
had=$(demo_point_ids | wc -l)
mv "$demo/agent" "$demo/agent.kept"
demo_agent --disk-name other
demo_wait_points $((had + 1))
demo_stop_agent
check "a machine that lost a disk since is not committed" exit_code_is 3 cli commit "$demo_machine"
check "the refusal names the disk" eval "said TRANSITION_REFUSED && said 'does not have disk.img ('"
check "it is reprotected as before" state_is reprotected
rm -rf "$demo/agent" && mv "$demo/agent.kept" "$demo/agent"
had=$(demo_point_ids | wc -l)
demo_agent
demo_wait_points $((had + 1))
demo_stop_agent

# The old source is switched on while the machine that runs now is silent: what it has must not become the newest point.
mv "$demo/agent" "$demo/agent-now" && mv "$demo/agent-before" "$demo/agent"
had=$(demo_point_ids | wc -l)
demo_agent
standing() { cli --json status | says '"STATE_SUPERSEDED"'; }
wait_for 60 "the old source's agent to be refused" standing
check "its agent says why" says STATE_SUPERSEDED < <(causeway-agent status --state "$demo/agent")
check "and what to do" says 'empty --state' < <(causeway-agent status --state "$demo/agent")
demo_stop_agent
check "it made no point" test "$(demo_point_ids | wc -l)" = "$had"
rm -rf "$demo/agent" && mv "$demo/agent-now" "$demo/agent"
demo_agent
demo_wait_points $((had + 1))
pass "the machine that runs now goes on with its state"
check "and the condition has ended" eval '! standing'
demo_stop_agent

check "failback" exit_code_is 0 cli failback "$demo_machine" --target "$demo/first.raw"
check "every verb is a job" test "$(cli --json jobs --machine "$demo_machine" | field -1 verb)" = failback
check "the machine is failed back" state_is failed-back
check "commit ends the round" exit_code_is 0 cli commit "$demo_machine"
check "the machine is protected again" state_is protected

# One disk less, and somebody says so: to reprotect, and to commit, which asks again.
check "another failover" exit_code_is 0 cli failover "$demo_machine" --output "$demo/less.raw"
check "its commit" exit_code_is 0 cli commit "$demo_machine"
rm -rf "$demo/agent"
had=$(demo_point_ids | wc -l)
demo_agent --disk-name other
demo_wait_points $((had + 1))
demo_stop_agent
check "reprotect misses a disk" exit_code_is 0 cli reprotect "$demo_machine"
check "and waits for it" state_is reprotecting
check "unless the machine goes on without it" exit_code_is 0 cli reprotect "$demo_machine" --without disk.img
check "then it is reprotected" state_is reprotected
check "commit misses it as well" exit_code_is 3 cli commit "$demo_machine"
check "and names it" said 'does not have disk.img ('
check "unless it hears the same" exit_code_is 0 cli commit "$demo_machine" --without disk.img
check "the machine stays there" state_is protected

check "an unknown verb is told with a guess" exit_code_is 2 cli failver
check "the guess is right" said "failover"
for program in causewayd causeway causeway-agent causeway-restore; do
    check "$program tells its version" eval '"$program" --version | says -x "$program [0-9.]*"'
done
cases_end
