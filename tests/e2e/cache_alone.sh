#!/usr/bin/env bash
# The server is killed before any manifest names the machine's disk, and the agent never comes back: what is in the cache
# alone is enough to restore what was promised. Usage: cache_alone.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh

promised() { vault_has_tag promised; }

demo_begin
ordered_seed
fake_start --seed "$ordered_seed"
fake_quick_vault
demo_start_server
# The first manifest claims the machine, before its agent has said what the disk is. No later one is ever taken.
fake_faults '[{"op":"put_blob","name":"/00000000000000000002","action":"throttle"}]'
ordered_image 8
ordered_agent
ordered_writer 200
ordered_protect
sleep 0.3
note_point promised durable || die "no point: $(tail -n 1 "$demo/points.log")"
check "nothing of it is in the vault when the server dies" eval '! promised'
kill -9 "$demo_server_pid" "$demo_agent_pid"
wait "$demo_server_pid" "$demo_agent_pid" 2>/dev/null || true
rm -rf "$demo/agent"

fake_faults '[]'
demo_start_server
wait_for 90 "the point in the vault" promised
check "the cache alone tells what the disk was: its point restores" restore_all
check "and the vault proves itself" eval 'causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full | tail -n 1 | says ^intact'
cases_end
