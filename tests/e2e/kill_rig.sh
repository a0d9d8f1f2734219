#!/usr/bin/env bash
# A process with the real cache on a real file is killed several times a second; every write that it had reported SPOOLED is
# read back. Usage: kill_rig.sh BUILD_DIRECTORY; CAUSEWAY_KILLS=N for more, CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
source tests/lib/cases.sh
kills=250
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || kills=5000
export CAUSEWAY_KILLS=${CAUSEWAY_KILLS:-$kills}

output=$("$build/tests/spool_kill_test" --gtest_brief=1 2>&1)
status=$?
counts=$(grep ' kills, .* SPOOLED writes verified' <<<"$output")
echo "$counts"
[ $status -eq 0 ] || tail -n 30 <<<"$output"
check "${counts%%, seed*}: none is lost, none was never written" [ $status -eq 0 -a -n "$counts" ]
check "at least $CAUSEWAY_KILLS real kills" [ "${counts%% *}" -ge "$CAUSEWAY_KILLS" ]
cases_end
