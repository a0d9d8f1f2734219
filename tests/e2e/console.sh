#!/usr/bin/env bash
# The console: a page at the control port that shows an operator what the control API says, gives no orders, loads nothing
# from elsewhere and takes no name for markup. Usage: console.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

name='<img src=x onerror=alert(1)>'
ask() {  # CERTIFICATE PATH CURL_OPTION…
    local who=$1 path=$2; shift 2
    curl -sS --max-time 60 --cacert "$demo/pki/ca.crt" --cert "$demo/pki/$who.crt" --key "$demo/pki/$who.key" "$@" \
        "https://localhost:$control_port$path"
}
answers() { [ "$(ask operator "$2" -o "$demo/body" -w '%{http_code}' "${@:3}" 2>>"$demo/curl.log")" = "$1" ] || { cat "$demo/body"; false; }; }
page_shows() { grep -q -- "$1" "$demo/shown" || { cat "$demo/shown"; false; }; }
fetched() { cmp "$demo/$1" "appliance/console/$1"; }
header_is() { grep -qi "^$1: $2" "$demo/headers" || { cat "$demo/headers"; false; }; }

demo_begin
demo_interval=1s
head -c 1M /dev/urandom > "$demo/given.img"
demo_image_from "$demo/given.img" >/dev/null
demo_config "url = \"dir://$demo/vault\"" '[control]
listen = "127.0.0.1:0"'
causeway pki issue "$demo/pki" --role operator --name olga --host localhost --out "$demo/pki/operator" >/dev/null
causeway --config "$demo/causeway.toml" vault create >/dev/null || die "no vault"
demo_start_server
demo_find_control_port
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
    --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" --machine-name "$name" --interval 1s \
    --pre-hook "$demo/pre-hook" --post-hook "$demo/post-hook" 2>>"$demo/agent.log" &
demo_agent_pid=$!
demo_pids+=($!)
demo_wait_points 1 >/dev/null
check "a job for the page to show" causeway --config "$demo/causeway.toml" failover "$demo_machine" --output "$demo/out.raw"

ask operator / -o "$demo/index.html" -D "$demo/headers"
ask operator /console.css -o "$demo/console.css"
ask operator /console.js -o "$demo/console.js"
for file in index.html console.css console.js; do check "$file comes as it lies in the source" fetched $file; done
check "it is a page" header_is content-type 'text/html'
check "nothing but its own files may run in it" header_is content-security-policy "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
check "it names nothing elsewhere" eval '! grep -nE "(https?:)?//[a-z]" appliance/console/index.html appliance/console/console.css && ! grep -n "https\?://" appliance/console/console.js'
check "it has no script or style of its own in the markup" eval '! grep -nE "<style|style=|onclick|<script>" appliance/console/index.html'

check "a machine's certificate opens no page" eval '! ask machine / -o "$demo/body" 2>>"$demo/curl.log"'
check "without a certificate there is no page" eval '! curl -sS --max-time 60 --cacert "$demo/pki/ca.crt" "https://localhost:$control_port/" 2>>"$demo/curl.log"'
check "an order from a web page is refused" answers 403 /v1/reload -X POST -H 'Origin: https://elsewhere.example' --data ''
check "also from one of this server" answers 403 /v1/reload -X POST -H 'Sec-Fetch-Site: same-origin' --data ''
check "a program's order is obeyed" answers 200 /v1/reload -X POST --data ''

check "a machine is told" answers 200 "/v1/machines/$demo_machine"
cp "$demo/body" "$demo/machine.json"
check "an unknown machine is not found" answers 404 /v1/machines/00000000-0000-4000-8000-000000000000
check "what is no machine is refused" answers 400 /v1/machines/x
ask operator /v1/status > "$demo/status.json"
ask operator /v1/events > "$demo/events.json"
check "the script makes a page of it" eval 'node tests/e2e/console_dom.js "$demo/console.js" "$demo/index.html" "$demo/status.json" "$demo/events.json" "$demo/machine.json" > "$demo/shown"'
check "the page shows the server" page_shows '^server: demo · process-server · port'
check "and its health" page_shows '^health: \(ok\|warning\|critical\)'
check "and the machine, its name as text" page_shows "^machines: .*$name"
check "and the cache" page_shows '^tiles: cache [0-9]* % free'
check "a click shows the machine's state" page_shows '^machine-state: failed-over; no point was proven'
check "and its job, done" page_shows '^jobs: .* failover succeeded '
check "and its points" page_shows "^points: .*$(demo_point_ids | head -n 1)"
check "it asked for nothing else" page_shows "^asked: v1/status v1/events v1/machines/$demo_machine\$"
check "of a machine that was not brought back it says nothing of that" eval '! grep -q "^machine-returned" "$demo/shown"'

# A failback that is killed when the switch of its disk has begun.
check "the failover is committed" causeway --config "$demo/causeway.toml" commit "$demo_machine"
truncate -s "$(stat -c %s "$demo/out.raw")" "$demo/old.raw"
CAUSEWAY_CRASH_POINT=failback.noted:1 causeway --config "$demo/causeway.toml" failback "$demo_machine" --target "$demo/old.raw" \
    >"$demo/last.out" 2>&1
check "the failback is killed" test $? -eq 137
check "its machine is told" answers 200 "/v1/machines/$demo_machine"
node tests/e2e/console_dom.js "$demo/console.js" "$demo/index.html" "$demo/status.json" "$demo/events.json" "$demo/body" > "$demo/shown"
check "the page shows the state" page_shows '^machine-state: failing-back; '
point=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["returned"]["point"])' "$demo/body")
check "and how many disks are back, at which point" page_shows "^machine-returned: 0 of 1 disks are back at point $point of "
check "and of each what became of it" page_shows '^machine-returned: .* missing, its switch had begun'
check "as the command says it" eval 'causeway --config "$demo/causeway.toml" machines "$demo_machine" | says "0 of 1 disks are back at point .*, whose switch had begun"'
cases_end
