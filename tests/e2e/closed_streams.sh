#!/usr/bin/env bash
# Programs that are started without standard streams (a service of an old kind, a shell's 2>&-): the numbers 0 to 2 must
# not go to a cache, a disk or an image, which would then hold what was logged. Usage: closed_streams.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

# Its numbers 0 to 2 are no file of ours.
streams_are_null() { [ "$(readlink "/proc/$1/fd/0" "/proc/$1/fd/1" "/proc/$1/fd/2" | sort -u)" = /dev/null ]; }
# Files among the arguments with a line of a log in them.
with_log_lines() { grep -rlaE 'Z (info|warning|error) [a-z]+\.[a-z_.]+' "$@"; }
no_log_lines() { local found; found=$(with_log_lines "$@"); [ -z "$found" ] || { echo "$found"; false; }; }

demo_begin
head -c 4M /dev/urandom > "$demo/given.img"
demo_image_from "$demo/given.img"
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
causeway --config "$demo/causeway.toml" vault create >/dev/null || die "no vault"
demo_start_server
check "the server's log is known when it is seen" eval '[ -n "$(with_log_lines "$demo/server.log")" ]'
kill "$demo_server_pid"; demo_reap "$demo_server_pid"

causewayd --config "$demo/causeway.toml" <&- >&- 2>&- &
demo_server_pid=$!
demo_pids+=($demo_server_pid)
wait_for 120 "the server" demo_server_up
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
    --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" --machine-name demo-machine --interval 1s \
    --pre-hook "$demo/pre-hook" --post-hook "$demo/post-hook" --log-level info <&- >&- 2>&- &
demo_agent_pid=$!
demo_pids+=($demo_agent_pid)
demo_wait_points 2
check "the server has no file of its own at a stream's number" streams_are_null "$demo_server_pid"
check "the agent has none" streams_are_null "$demo_agent_pid"
point=$(demo_point_ids | tail -n 1)
causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$point" --output "$demo/out.img" <&- >&- 2>&-
check "the command line restores without streams" test $? -eq 0
causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" restore --machine "$demo_machine" --point "$point" \
    --output "$demo/tool.img" <&- >&- 2>&-
check "so does the tool that needs no server" test $? -eq 0
truth=$(demo_truth_of "$point")
check "the restored image is the disk" test "$(sum_of "$demo/out.img")" = "$truth"
check "the tool's image is the disk" test "$(sum_of "$demo/tool.img")" = "$truth"
demo_stop_agent
kill "$demo_server_pid"; demo_reap "$demo_server_pid"
check "nothing that was logged is in a file of theirs" \
    no_log_lines "$demo/cache" "$demo/vault" "$demo/state" "$demo/agent" "$demo_image" "$demo/out.img" "$demo/tool.img"
cases_end
