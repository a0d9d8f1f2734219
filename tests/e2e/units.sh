#!/usr/bin/env bash
# What is installed, and how the service manager sees it: the units are as closed as promised, and causewayd tells that it is
# ready, alive and ending. Usage: units.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

demo_begin
units=$PWD/appliance/units
# exposed_at_most TENTHS UNIT
exposed_at_most() { systemd-analyze security --offline=true --threshold="$1" "$units/$2" >"$demo/exposure.log" 2>&1; }
check "the process server's unit is exposed by 1.5 at most" exposed_at_most 15 causewayd.service
check "the master target's unit is exposed by 2.0 at most" exposed_at_most 20 causeway-master-target.service
check "a drill's unit is exposed by 1.5 at most" exposed_at_most 15 causeway-drill@.service
systemd-analyze verify "$units"/*.service "$units"/*.timer >"$demo/verify.log" 2>&1
check "the units have no line that is ignored" eval '! grep "^$units/.*ignoring" "$demo/verify.log"'

check "stopping an agent kills no tool of LVM and no hook halfway" grep -qx "KillMode=process" "$units/causeway-agent@.service"
few_deaths() { for unit in causewayd causeway-master-target; do
    for line in StartLimitIntervalSec=600 StartLimitBurst=5 Restart=on-failure; do grep -qx "$line" "$units/$unit.service" || return 1; done
done; }
check "A10: whoever dies five times within ten minutes stays down" few_deaths
cmake --install "$build" --prefix "$demo/usr" >"$demo/install.log" 2>&1 || fail "what was built can be installed"
for file in bin/causewayd bin/causeway bin/causeway-agent bin/causeway-restore lib/causeway/nbdkit-causeway-plugin.so \
    lib/systemd/system/causewayd.service "lib/systemd/system/causeway-volume@.service" \
    "lib/systemd/system/causeway-drill@.service" "lib/systemd/system/causeway-drill@.timer" lib/sysusers.d/causeway.conf share/doc/causeway/operations.md; do
    check "$file is installed" test -s "$demo/usr/$file"
done
users=$(sed -n 's/^u  *\([a-z-]*\) .*/\1/p' "$demo/usr/lib/sysusers.d/causeway.conf")
for unit in causewayd causeway-master-target causeway-drill@; do
    check "$unit has its user" grep -qx "$(sed -n 's/^User=//p' "$units/$unit.service")" <<<"$users"
done

demo_config "url = \"dir://$demo/vault\""
causeway --config "$demo/causeway.toml" vault create >/dev/null || die "no vault"
# The command line of a drill, with the options that its unit names as an example, as far as it goes without a machine.
drill=$(sed -n 's/^ExecStart=//p' "$units/causeway-drill@.service")
eval "options=($(sed -n 's/^# *OPTIONS=//p' "$units/causeway-drill@.service"))"
drill=${drill//%i/$(cat /proc/sys/kernel/random/uuid)}
drill=${drill//\/var\/cache/$demo} drill=${drill//\/etc\/causeway/$demo} drill=${drill//\/usr\/bin\//}
check "a drill's unit asks for what causeway understands: here the machine is not found" exit_code_is 4 ${drill% \$OPTIONS} "${options[@]}"

# The service manager's side of a notification socket: READY, two signs of life, and STOPPING after SIGTERM.
python3 - "$demo/notify.sock" causewayd --config "$demo/causeway.toml" 2>"$demo/server.log" <<'PY' && pass "causewayd tells that it is ready, alive and ending" || fail "causewayd tells that it is ready, alive and ending"
import os, socket, subprocess, sys
path, command = sys.argv[1], sys.argv[2:]
channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
channel.bind(path)
channel.settimeout(180)
server = subprocess.Popen(command, env=dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="2000000"))
seen = []
def wait_for(word, times=1):
    while sum(line.startswith(word) for line in seen) < times:
        seen.extend(channel.recv(4096).decode().splitlines())
try:
    wait_for("READY=1")
    wait_for("WATCHDOG=1", 2)
    server.terminate()
    wait_for("STOPPING=1")
    sys.exit(server.wait(180))
except TimeoutError:
    print("the service manager saw only:", seen, file=sys.stderr)
    sys.exit(1)
finally:
    server.kill()
PY
cases_end
