#!/usr/bin/env bash
# The vault's key is changed and everything goes on; the kit on paper alone brings a disk back. Usage: keys.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

config() { causeway --config "$demo/causeway.toml" "$@"; }
quietly() { "$@" >>"$demo/cli.log" 2>&1; }
fails_with() { local code=$1; shift; ! "$@" >"$demo/said.out" 2>&1 && cat "$demo/said.out" >>"$demo/cli.log" && grep -q "$code" "$demo/said.out"; }
mode_is() { [ "$(stat -c %a "$2")" = "$1" ]; }
data_keys() { config --json keys 2>>"$demo/cli.log" | json_number data_keys; }
sessions() { grep -c 'agent.session.live' "$demo/agent.log"; }
has_sessions() { [ "$(sessions)" -ge "$1" ]; }
has_data_keys() { [ "$(data_keys)" -ge "$1" ]; }
old_kek() { echo "$demo"/kek.until-*; }
may_be_destroyed() { config --json keys retire "$(old_kek)" 2>>"$demo/cli.log" | says "\"dispensable\": *$1"; }
# A server that was started again takes the machine's chain over: a point of just then may be given up, and says so.
point_of_new_server() {
    local i
    for i in $(seq 20); do
        writer_pause
        third=third-$i
        echo "$third $ordered_truth" >> "$demo/noted"
        causeway-agent point --state "$demo/agent" --tag "$third" --wait committed --timeout 150s >>"$demo/points.log" 2>&1 && return 0
        writer_go
        sleep 0.5
    done
    return 1
}
# The program for the bad day, with nothing but the vault and what was typed from paper.
tool() { local key=$1; shift; causeway-restore --vault "dir://$demo/vault" --kek "$key" "$@"; }
restored_by_kit() {  # KIT TAG
    local id truth
    id=$(vault_points | awk -v tag="$2" '$1 == tag { print $2 }')
    truth=$(awk -v tag="$2" '$1 == tag { print $2 }' "$demo/noted")
    rm -f "$demo/by-kit.img"
    quietly tool "$1" restore --machine "$demo_machine" --point "$id" --output "$demo/by-kit.img" &&
        [ "$(sha256sum < "$demo/by-kit.img" | cut -d' ' -f1)" = "$truth" ]
}

demo_begin
ordered_seed
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
quietly config vault create
demo_start_server
ordered_pin_port
ordered_image 16
ordered_agent
ordered_writer 100
ordered_protect
check "a point under the first keys is committed" note_point first committed
writer_go

check "the key file opens every machine's keys" quietly config keys
check "a new data key is ordered of the running server" quietly config keys rotate --data --machine "$demo_machine"
check "it is in the vault" wait_for 180 "the manifest with it" has_data_keys 2
check "a machine that is not here gets none" fails_with NOT_FOUND config keys rotate --data --machine "$(cat /proc/sys/kernel/random/uuid)"
check "a point under the new data key is committed" note_point second committed
check "a running server keeps its key file" fails_with IN_USE config keys rotate
check "and nothing has begun" test ! -e "$demo/kek.next"

check "a kit is written" quietly config keys kit --out "$demo/kit"
check "it is for its owner alone" mode_is 400 "$demo/kit"
check "the kit alone brings a disk back" restored_by_kit "$demo/kit" first
grep '^key ' "$demo/kit" > "$demo/typed" && chmod 400 "$demo/typed"
check "its four lines suffice" restored_by_kit "$demo/typed" second
sed '/^key 3/s/  \(.\)/  \1\1/' "$demo/kit" > "$demo/slip" && chmod 400 "$demo/slip"
check "a slip of the pen is named" fails_with "KEY_UNAVAILABLE.*'key 3'" tool "$demo/slip" list

# The key file is changed while the server is away; an earlier attempt had got as far as making the new one.
writer_pause
before=$(sessions)
kill "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$demo/kek.next" && chmod 400 "$demo/kek.next"
cp "$demo/kek" "$demo/first-kek" && cp "$demo/kek.next" "$demo/wanted-kek"
cp "$demo/vault/keys/$demo_machine" "$demo/late-key"
# Whoever is root changes the key for the user whose daemon reads it.
reader=$(stat -c %U "$demo/kek") && [ "$(id -u)" != 0 ] || { reader=nobody && chown nobody "$demo/kek"; }
: > "$demo/kek.until-20200101T000000Z.0123456789abcdef.new"  # Of a change that was killed: a key that nobody would destroy.
check "the vault's key is changed" quietly config keys rotate
check "the new and the old one are of the user who had it" test "$(stat -c %U "$demo"/kek "$demo"/kek.until-* | sort -u)" = "$reader"
check "nothing is left of a copy that was cut short" test ! -e "$demo/kek.until-20200101T000000Z.0123456789abcdef.new"
[ "$(id -u)" != 0 ] || chown "$(id -u)" "$demo"/kek "$demo"/kek.until-*
check "the change that was begun was finished" cmp -s "$demo/kek" "$demo/wanted-kek"
check "the old key is kept for old copies" cmp -s "$demo"/kek.until-* "$demo/first-kek"
check "and is its owner's alone" mode_is 400 "$demo"/kek.until-*
check "the old key opens nothing any more" fails_with KEY_UNAVAILABLE tool "$demo/first-kek" restore --machine "$demo_machine" --output "$demo/none.img"
check "nor does the old kit" fails_with KEY_UNAVAILABLE tool "$demo/kit" restore --machine "$demo_machine" --output "$demo/none.img"
check "nor may it be destroyed at once" may_be_destroyed false
# What a server was writing under the old key lands behind the change.
cp "$demo/late-key" "$demo/vault/keys/$demo_machine"
check "a key that landed late is told" fails_with KEY_UNAVAILABLE config keys
check "doctor tells what to do" fails_with "keys retire" config doctor
mv "$(old_kek)" "$demo/kek.until-20200101T000000Z"
check "it is found and wrapped anew, and the old key kept on" may_be_destroyed false
check "from then on the time counts anew" test ! -e "$demo/kek.until-20200101T000000Z"
check "the new key file opens it" quietly config keys
mv "$(old_kek)" "$demo/kek.until-20200101T000000Z"
check "when nothing is found any more the old key may be destroyed" may_be_destroyed true
check "a file of another name is not taken for the old key" fails_with USAGE config keys retire "$demo/first-kek"
demo_start_server
wait_for 180 "the agent's next session" has_sessions $((before + 1))
writer_go
check "a point under the new key is committed" point_of_new_server
check "every point, old and new, is byte-identical" restore_all
check "the new key file opens every machine's keys" quietly config keys
check "a new kit is written" quietly config keys kit --out "$demo/kit2"
check "the new kit brings an old point back" restored_by_kit "$demo/kit2" first
check "and a new one" restored_by_kit "$demo/kit2" "$third"
cases_end
