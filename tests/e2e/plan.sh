#!/usr/bin/env bash
# A step of a recovery plan that runs out of its time: the plan fails and says which step, what it had started is gone, later
# steps and groups are not begun, and the next run keeps what was finished. A step that the state of its machine forbids is
# told before any script has run. Usage: plan.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

order() { tr '\n' ' ' < "$demo/order"; }
plan_state() { cli --json plan show "$demo/plan.toml"; }
# step_is NAME STATE
step_is() {
    plan_state | python3 -c 'import json, sys
print({step["name"]: step["state"] for step in json.load(sys.stdin)["steps"]}[sys.argv[1]])' "$1" | says -x "$2"
}
# What a step leaves running is of its own session, and ends with it.
ended() {
    kill -0 "$1" 2>/dev/null || return 0
    grep -qs '^State:[[:space:]]*[XZ]' "/proc/$1/status"
}

demo_begin
demo_interval=1s
head -c 1M /dev/urandom > "$demo/given.img"
demo_image_from "$demo/given.img"
demo_server
demo_agent
demo_wait_points 1
demo_stop_agent
: > "$demo/order"
# The step that hangs says who it is, and that of its child; mended, it does what it should.
cat > "$demo/stuck" <<S
#!/bin/sh
[ ! -e $demo/mended ] || { echo stuck >> $demo/order; exit 0; }
sleep 3600 &
echo \$\$ \$! > $demo/stuck.pids
wait
S
chmod +x "$demo/stuck"
cat > "$demo/plan.toml" <<P
name = "hurry"
timeout = "10min"
[[group]]
name = "first"
[[group.step]]
name = "prepare"
script = ["/bin/sh", "-c", "echo prepare >> $demo/order"]
[[group]]
name = "second"
[[group.step]]
name = "hangs"
script = ["$demo/stuck"]
timeout = "3s"
[[group.step]]
name = "beside"
script = ["/bin/sh", "-c", "echo beside >> $demo/order"]
[[group]]
name = "third"
[[group.step]]
name = "end"
script = ["/bin/sh", "-c", "echo end >> $demo/order"]
P

# On a busy machine it may be out of its time before it has said who it is: then once more.
for ((try = 0; try < 20; try++)); do
    exit_code_is 1 cli plan run "$demo/plan.toml" || break
    [ ! -s "$demo/stuck.pids" ] || break
done
check "a step that is out of its time fails the plan" test -s "$demo/stuck.pids"
check "the plan says so by its code, which step of which group" said 'PLAN_FAILED.*step hangs of group second'
check "and that it was its time" said 'within 3 s'
read -r pid child < "$demo/stuck.pids"
check "the step was ended" wait_for 60 "the end of the step" ended "$pid"
check "with what it had started" wait_for 60 "the end of its child" ended "$child"
check "the step before is done" step_is prepare done
check "the step is told as failed" step_is hangs failed
check "the rest of its group is not begun" step_is beside pending
check "the later groups are not begun" step_is end pending
check "nothing of them has run" test "$(order)" = "prepare "
check "the job names the step" eval 'cli jobs | says "PLAN_FAILED.*hangs"'

# The same limit holds for the mended step: a busy machine may need more than one run.
touch "$demo/mended"
plan_runs() { cli plan run "$demo/plan.toml" >"$demo/last.out" 2>&1; }
check "mended, the next run goes on to the end" wait_for 180 "the mended plan" plan_runs
check "what was finished is kept, what was not begun follows in order" \
    test "$(order | sed 's/\(stuck \)\+/stuck /')" = "prepare stuck beside end "
for step in prepare hangs beside end; do check "$step is done" step_is $step done; done

# A step that names no limit has the plan's.
printf 'name = "whole"\ntimeout = "1s"\n[[group]]\nname = "g"\n[[group.step]]\nname = "s"\nscript = ["/bin/sleep", "3600"]\n' \
    > "$demo/whole.toml"
check "a step without a limit of its own has the plan's" exit_code_is 1 cli plan run "$demo/whole.toml"
check "which it is told" said 'PLAN_FAILED.*step s of group g.*within 1 s'

# A plan that commits its machine's failover, and whose run is killed after that.
cat > "$demo/fails" <<S
#!/bin/sh
[ ! -e $demo/calm ] || exit 0
echo \$\$ > $demo/fails.pid
exec sleep 3600
S
chmod +x "$demo/fails"
cat > "$demo/own.toml" <<P
name = "own"
[[group]]
name = "only"
[[group.step]]
name = "db"
machine = "$demo_machine"
output = "$demo/own.img"
[[group.step]]
name = "fails"
script = ["$demo/fails"]
P
causeway --config "$demo/causeway.toml" plan run "$demo/own.toml" >"$demo/last.out" 2>&1 &
plan_pid=$!
demo_pids+=($plan_pid)
while kill -0 $plan_pid 2>/dev/null && [ ! -e "$demo/own.img" ]; do :; done # Whole, and noted by nobody as a rule.
kill -9 $plan_pid
wait $plan_pid 2>/dev/null
check "of a run that was killed behind a disk, a check says what going on would do" exit_code_is 0 cli plan check "$demo/own.toml"
check "and how far the run is" said 'plan own: interrupted'
touch "$demo/calm"
check "it goes on" exit_code_is 0 cli plan run "$demo/own.toml"
check "a check of a run that would begin anew finds what it brought back" exit_code_is 1 cli plan check "$demo/own.toml"
rm "$demo/own.img"
check "without that it says that it begins anew" eval 'cli plan check "$demo/own.toml" | says "plan own: begins anew"'
exit_code_is 0 cli undo-failover "$demo_machine" || die "the failover cannot be given up"
rm "$demo/calm"
cat > "$demo/moves.toml" <<P
name = "moves"
[[group]]
name = "only"
[[group.step]]
name = "mark"
script = ["/bin/sh", "-c", "echo mark >> $demo/order"]
[[group.step]]
name = "db"
machine = "$demo_machine"
output = "$demo/db.img"
[[group.step]]
name = "settle"
script = ["causeway", "--config", "$demo/causeway.toml", "commit", "$demo_machine"]
[[group.step]]
name = "fails"
script = ["$demo/fails"]
P
: > "$demo/order"
check "while the machine is protected, the plan is right beforehand" exit_code_is 0 cli plan check "$demo/moves.toml"
causeway --config "$demo/causeway.toml" plan run "$demo/moves.toml" >"$demo/last.out" 2>&1 &
plan_pid=$!
demo_pids+=($plan_pid)
wait_for 120 "the step that hangs" test -s "$demo/fails.pid"
kill -9 $plan_pid
wait $plan_pid 2>/dev/null
machine_is() { cli --json machines "$demo_machine" | says "\"state\": *\"$1\""; }
check "the machine is committed" machine_is committed
touch "$demo/calm"
check "of a run that was killed, what is done is not asked again" exit_code_is 0 cli plan check "$demo/moves.toml"
check "it goes on" exit_code_is 0 cli plan run "$demo/moves.toml"
check "without beginning anew" test "$(order)" = "mark "

mv "$demo/db.img" "$demo/db-before.img"
for anew in "" --restart; do
    check "a new run${anew:+ by $anew} finds the state that forbids its step" exit_code_is 3 cli plan run "$demo/moves.toml" $anew
    check "it names the step, the machine, its state, what is allowed and the next command" \
        said "TRANSITION_REFUSED.*step db of group only: machine $demo_machine: .*is committed.*allowed now: reprotect, failback.*see causeway machines $demo_machine\. Nothing was begun"
    check "no script has run" test "$(order)" = "mark "
    check "and no disk was written" test ! -e "$demo/db.img"
done
check "the run before stands as it ended" eval 'cli plan show "$demo/moves.toml" | says "plan moves: succeeded"'
check "a check says it on a quiet day" exit_code_is 1 cli plan check "$demo/moves.toml"
check "of the step" said "step db: TRANSITION_REFUSED.*is committed.*causeway machines $demo_machine"
cases_end
