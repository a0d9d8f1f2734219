#!/usr/bin/env bash
# Faults of the catalogue that no other script is about, at one running server: A10 an assertion that fails, E3 cut off from
# the agent alone, E8 a failover while replication runs, F8 the key is away, G6 a wrong configuration. No point is lost by
# any of them, and nobody begins anew. Usage: named_faults.sh BUILD_DIRECTORY; CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

epoch() { cli --json status | json_number epoch; }
condition_is() { cli --json status | sed '1,/"conditions"/d' | says "\"$1\""; }
condition_is_not() { ! condition_is "$1"; }
is_truth_of() { [ "$(sha256sum < "$2" | cut -d' ' -f1)" = "$(awk -v tag="$1" '$1 == tag { print $2 }' "$demo/noted")" ]; }
id_of() { vault_points | awk -v tag="$1" '$1 == tag { print $2 }'; }
starts_with() {  # EXIT CODE: what causewayd ends with instead of starting
    timeout 120 causewayd --config "$demo/causeway.toml" >"$demo/last.out" 2>&1
    [ $? -eq "$1" ] && said "$2"
}

demo_begin
ordered_seed
demo_quick_vault
sed -i 's/^\[ingest\]$/&\nagent_silent = "2s"/' "$demo/causeway.toml"
demo_start_server
ordered_pin_port
ordered_image 8
ordered_agent
ordered_writer 100
ordered_protect
check "a point to begin with" note_point begin committed
writer_go
fences=$(fences_begun)

# E3: the agent is not heard, the vault is: nobody takes the machine over, and it goes on where it was.
before=$(epoch)
kill -STOP "$demo_agent_pid"
check "E3: AGENT_SILENT is raised" wait_for 180 "silence" condition_is AGENT_SILENT
kill -CONT "$demo_agent_pid"
check "E3: and ends when it is heard" wait_for 600 "the agent" condition_is_not AGENT_SILENT
check "E3: the machine's epoch is the same" test "$(epoch)" -eq "$before"
check "E3: points go on" note_point after-silence committed
writer_go

# E8: a failover while writes come in: the point is what it was, and what comes later is a later point's.
check "E8: a failover while replication runs" exit_code_is 0 cli failover "$demo_machine" --point "$(id_of begin)" --output "$demo/began.img"
check "E8: it is the point" is_truth_of begin "$demo/began.img"
check "E8: replication goes on" note_point after-failover committed
writer_go
check "E8: what came later is in a point of its own" exit_code_is 0 cli export "$demo_machine" --point "$(id_of after-failover)" --output "$demo/later.img"
check "E8: and it is the disk of that moment" is_truth_of after-failover "$demo/later.img"
check "E8: the first point is as it was" eval 'rm -f "$demo/began.img" && cli export "$demo_machine" --point "$(id_of begin)" --output "$demo/began.img" >>"$demo/cli.log" 2>&1 && is_truth_of begin "$demo/began.img"'
check "E8: the failover is given up" exit_code_is 0 cli undo-failover "$demo_machine"

# G6: a file with an error changes nothing, names the line and the key, and `reload` fails.
cp "$demo/causeway.toml" "$demo/good.toml"
sed -i 's/^commit_interval = .*/commit_interval = "soon"/' "$demo/causeway.toml"
curl -s --max-time 60 --unix-socket "$demo/state/control.sock" -X POST --data '' http://causeway/v1/reload >"$demo/last.out"
check "G6: a wrong value is refused" said CONFIG_INVALID
check "G6: by line and key" said 'toml:[0-9]*:[0-9]*: egress.commit_interval'
check "G6: to the shell, too" exit_code_is 2 cli config reload
cp "$demo/good.toml" "$demo/causeway.toml"
check "G6: and nothing changed" note_point after-reload committed
writer_go

# F8: the key's file is away: who has the keys goes on, who has not says so.
mv "$demo/kek" "$demo/kek.away"
check "F8: a running server goes on" note_point without-key committed
writer_go
check "F8: doctor says KEY_UNAVAILABLE" eval 'cli doctor >"$demo/last.out" 2>&1; said KEY_UNAVAILABLE'
# A10: an assertion that fails is an abort: the cache is kept, and what it holds is published by the next.
check "A10: a point is in the cache" note_point in-cache durable
writer_go
kill -ABRT "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
check "A10: it was an abort" test $? -eq 134
check "F8: a server without the key does not start" starts_with 1 KEY_UNAVAILABLE
check "F8: nor is a point restored without it" exit_code_is 1 cli export "$demo_machine" --point latest --output "$demo/none.img"
check "F8: and that is its reason" said KEY_UNAVAILABLE
mv "$demo/kek.away" "$demo/kek"
demo_start_server
wait_for 600 "the agent to come back" agent_live
check "A10: the next server goes on" note_point after-abort committed
check "A10: what the cache held is in the vault" wait_for 180 "all points" all_committed
check "nobody began anew" no_resync
check "every point restores what the disk was at its moment" restore_all
cases_end
