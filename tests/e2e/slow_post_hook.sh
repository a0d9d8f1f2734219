#!/usr/bin/env bash
# A post-hook that takes long, or fails, keeps nothing but itself: the point of the frozen source is in the vault, and the
# points behind it, while it runs. Usage: slow_post_hook.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

demo_begin
ordered_seed
demo_quick_vault
demo_start_server
ordered_image 32
# It runs until the file is there (or for as long as no run of this script lasts), and notes its beginning and its end.
cat > "$demo/post-hook" <<H
#!/bin/sh
echo begun >> "$demo/hooks"
looked=0
while [ ! -e "$demo/go" ] && [ \$looked -lt 6000 ]; do looked=\$((looked + 1)); sleep 0.05; done
echo ended >> "$demo/hooks"
[ ! -e "$demo/fail" ]
H
chmod +x "$demo/post-hook"
: > "$demo/hooks"
hooks() { paste -sd ' ' "$demo/hooks"; }
hooks_are() { [ "$(hooks)" = "$1" ]; }
hook_runs() { agent_json | says '"post_hook_runs":true'; }
hook_ended() { agent_json | says '"post_hook_runs":false'; }
kind_of() {
    causeway --config "$demo/causeway.toml" --json points "$demo_machine" 2>>"$demo/cli.log" | python3 -c 'import json, sys
for point in json.load(sys.stdin):
    if point["tag"] == sys.argv[1]: print(point["kind"])' "$1"
}
# frozen_point TAG: as note_point of tests/lib/ordered.sh makes one.
frozen_point() {
    writer_pause
    causeway-agent point --state "$demo/agent" --tag "$1" --frozen --wait committed --timeout 150s >>"$demo/points.log" 2>&1 || return 1
    echo "$1 $ordered_truth" >> "$demo/noted"
}
write_some() { ordered_ask "write 40"; }

ordered_agent --pre-hook true --post-hook "$demo/post-hook" --hook-timeout 600s --app-hooks --app-interval 0
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
ordered_writer 0
wait_for 180 "protection" agent_protects
write_some
check "a point of the frozen source is committed" frozen_point frozen1
check "while its post-hook runs" wait_for 60 "its beginning" hooks_are "begun"
check "of which status tells" wait_for 60 "the post-hook in status" hook_runs
for tag in behind1 behind2; do
    write_some
    check "and so is a point of what was written behind it ($tag)" note_point $tag committed
done
check "while the post-hook runs still" hooks_are "begun"
check "no write was only noted" eval 'agent_json | says "\"mode\":\"data\""'
check "the point is called application-consistent" [ "$(kind_of frozen1)" = app ]

# The next freeze comes after the end of that hook, which fails.
: > "$demo/fail"
: > "$demo/go"
check "the post-hook ends when it is let" wait_for 100 "its end" hook_ended
check "its failure is told in status" eval 'agent_json | says "post_hook_error\":\"HOOK_FAILED"'
check "and in the agent's log" grep -q "agent.post_hook.*HOOK_FAILED" "$demo/agent.log"
rm "$demo/fail"
write_some
check "the next frozen point" frozen_point frozen2
check "is one as well" [ "$(kind_of frozen2)" = app ]
wait_for 100 "the end of its hook" hook_ended
check "each hook ran once" hooks_are "begun ended begun ended"
check "a hook that went well is what status tells" eval '! agent_json | says HOOK_FAILED'

# An agent that is killed while the hook runs leaves it alone. The next one does not begin another beside it, waits for it, and runs
# it once more, because nobody saw how it went.
rm "$demo/go"
check "a third frozen point" frozen_point frozen3
wait_for 100 "the third hook" hooks_are "begun ended begun ended begun"
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
earlier_waited_for() { agent_json | says '"earlier":{"hook":"post-hook"'; }
ordered_agent --pre-hook true --post-hook "$demo/post-hook" --hook-timeout 600s --app-hooks --app-interval 0
check "the next agent names the hook of the killed one in status" wait_for 100 "the earlier hook" earlier_waited_for
check "and in its log" grep -q 'agent.hook.earlier hook=post-hook pid=' "$demo/agent.log"
wait_for 180 "protection" agent_protects
write_some
check "and makes points meanwhile" note_point beside committed
check "but begins no hook beside it" hooks_are "begun ended begun ended begun"
: > "$demo/go"
check "and runs it once more when it has ended" wait_for 100 "the hook that is owed" hooks_are "begun ended begun ended begun ended begun ended"

# So does one that is stopped in order; the next one has less patience, and kills it.
rm "$demo/go"
wait_for 100 "the end of the hook" hook_ended
check "a fourth frozen point" frozen_point frozen4
wait_for 100 "the fourth hook" hooks_are "begun ended begun ended begun ended begun ended begun"
demo_stop_agent
ordered_agent --pre-hook true --post-hook true --hook-timeout 1s --app-hooks --app-interval 0
check "a hook that outlives its agent and its time is killed" wait_for 100 "its end in the log" \
    grep -q 'agent.hook.earlier.ended .*killed=true' "$demo/agent.log"
wait_for 100 "the end of the hook" hook_ended
check "a frozen point after it" frozen_point frozen5
check "is application-consistent" [ "$(kind_of frozen5)" = app ]
check "the killed hook has not ended by itself" hooks_are "begun ended begun ended begun ended begun ended begun"
wait_for 180 "protection" agent_protects
check "every point is the disk at its moment" restore_all
check "none is missing" [ -z "$(missing_points)" ]
cases_end
