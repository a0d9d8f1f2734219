#!/usr/bin/env bash
# `causeway keys rotate` and `keys retire` are killed at each place where it matters: what lies beside the vault opens it at every
# moment, the same command goes on, and nothing is lost. What is no lasting file is refused before anything is changed.
# Usage: keys_kills.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

mode_is() { [ "$(stat -c %a "$2")" = "$1" ]; }
# killed_at PLACE COMMAND…: by itself, there.
killed_at() {
    local place=$1 status=0; shift
    (export CAUSEWAY_CRASH_POINT=$place; "$@") >"$demo/last.out" 2>&1 || status=$?
    [ $status -eq 137 ] || { cat "$demo/last.out"; echo "exit code $status"; false; }
}
# brings_back KEY_FILE VAULT: the point, byte-identical, with the program for the bad day.
brings_back() {
    rm -f "$demo/back"
    causeway-restore --vault "dir://$2" --kek "$1" restore --machine "$demo_machine" --output "$demo/back" >"$demo/last.out" 2>&1 || { cat "$demo/last.out"; return 1; }
    [ "$(sha256sum < "$demo/back" | cut -d' ' -f1)" = "$ordered_truth" ]
}
opens_not() { ! brings_back "$@" >/dev/null; }
# objects: what is in the vault's container of keys.
objects() { (cd "$demo/vault/keys" && sha256sum -- * | sort -k2); }
olds() { ls "$demo" | grep '^kek\.until-'; }
# kept KEY_COPY: beside the key file, under one name or more, as it was and for the owner alone.
kept() {
    local file found=no
    for file in "$demo"/kek.until-*; do
        [ -e "$file" ] && cmp -s "$file" "$1" && mode_is 400 "$file" && found=yes
    done
    [ $found = yes ] || { echo "the key of before is in none of: $(olds | xargs)"; false; }
}
opens_one_of() {  # COPY_OF_THE_VAULT: with what is kept
    local file
    for file in "$demo"/kek.until-*; do brings_back "$file" "$1" >/dev/null && return 0; done
    return 1
}

demo_begin
ordered_seed
demo_quick_vault
demo_start_server
ordered_pin_port
ordered_image 4
ordered_agent
ordered_writer 100
ordered_protect
note_point only committed || die "no point"
kill "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null
check "the key file brings the point back" brings_back "$demo/kek" "$demo/vault"

# What gives its key only once would be used up when all is wrapped by it, or by the other.
objects >"$demo/objects"
unchanged() { diff "$demo/objects" <(objects) && [ -z "$(olds)" ]; }
# fed FIFO KEY COMMAND…: somebody writes the key into the pipe while the command runs.
fed() {
    local fifo=$1 key=$2 status=0 feeder; shift 2
    (exec cat "$key" >"$fifo") 2>/dev/null &
    feeder=$!
    demo_pids+=($feeder)
    "$@" || status=$?
    kill $feeder 2>/dev/null; wait $feeder 2>/dev/null
    return $status
}
refused() { exit_code_is "$1" "${@:3}" && said "$2"; }
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$demo/spare" && chmod 400 "$demo/spare"
mkfifo -m 600 "$demo/kek.next"
check "a pipe as the new key file is refused" fed "$demo/kek.next" "$demo/spare" refused 1 "KEY_UNAVAILABLE.*kek.next is a pipe.*nothing was changed" cli keys rotate
check "before anything is wrapped by what it gave" unchanged
check "and the key file is what it was" brings_back "$demo/kek" "$demo/vault"
rm "$demo/kek.next"; mkdir -m 700 "$demo/kek.next"
check "a directory is refused" refused 1 "KEY_UNAVAILABLE.*kek.next" cli keys rotate
rmdir "$demo/kek.next"; echo "no key" >"$demo/kek.next"; chmod 400 "$demo/kek.next"
check "what is no key is refused" refused 1 "KEY_UNAVAILABLE.*kek.next" cli keys rotate
rm -f "$demo/kek.next"; cp "$demo/spare" "$demo/kek.next"; chmod 440 "$demo/kek.next"
check "a key that others may read is refused" refused 1 "KEY_UNAVAILABLE.*kek.next" cli keys rotate
rm -f "$demo/kek.next"
check "all of them before anything is changed" unchanged
mv "$demo/kek" "$demo/real"; mkfifo -m 600 "$demo/kek"
check "a pipe as the old key file is refused" fed "$demo/kek" "$demo/real" refused 1 "KEY_UNAVAILABLE.*kek is a pipe.*nothing was changed" cli keys rotate
check "before a new one is made" test ! -e "$demo/kek.next"
rm "$demo/kek"; mv "$demo/real" "$demo/kek"
check "and before anything is changed" unchanged

# At each place: which file brings the point back from the vault as it is then, and that nothing is gone.
round=0
for place in keys.next_made:1 keys.object_rewrapped:1 keys.object_rewrapped:2 keys.rewrapped:1 keys.old_kept:1 keys.replaced:1; do
    round=$((round + 1)) before=$demo/before-$round
    mkdir "$before" && cp -a "$demo/kek" "$before/kek" && cp -a "$demo/vault" "$before/vault"
    check "keys rotate is killed at $place" killed_at "$place" cli keys rotate
    case $place in
        keys.next_made:* | keys.replaced:*) opener=kek ;;
        *) opener=kek.next ;;
    esac
    check "$place: the point comes back with $opener" brings_back "$demo/$opener" "$demo/vault"
    if [ $place = keys.replaced:1 ]; then
        check "$place: the old key is kept" kept "$before/kek"
    else
        check "$place: the old key file is in its place" cmp -s "$demo/kek" "$before/kek"
        cp -a "$demo/kek.next" "$before/next"
        check "$place: the new one is beside it, its owner's alone" mode_is 400 "$demo/kek.next"
    fi
    check "$place: the same command completes" exit_code_is 0 cli keys rotate
    check "$place: no new key file is left over" test ! -e "$demo/kek.next"
    [ ! -e "$before/next" ] || check "$place: the key that was begun is the vault's" cmp -s "$demo/kek" "$before/next"
    check "$place: the key file opens every machine's keys" exit_code_is 0 cli keys
    check "$place: and brings the point back" brings_back "$demo/kek" "$demo/vault"
    check "$place: the key of before is kept" kept "$before/kek"
    check "$place: the key of before opens the vault no more" opens_not "$before/kek" "$demo/vault"
done
for ((i = 1; i <= round; i++)); do
    check "a copy of the vault from before change $i opens with a key that is kept" opens_one_of "$demo/before-$i/vault"
done

# Several within a second: no key gets the name of another.
in_a_row() {
    local i
    for i in {1..8}; do
        cp -a "$demo/kek" "$demo/row-$i" && cli keys rotate >/dev/null || return 1
    done
    for i in {1..8}; do kept "$demo/row-$i" || return 1; done
}
check "eight changes in a row keep eight keys" in_a_row

# What landed late is wrapped anew by keys retire; killed in between, the old key's time counts anew all the same.
for place in keys.time_anew:1 keys.object_rewrapped:1; do
    cp -a "$demo/vault/keys/$demo_machine" "$demo/late-key" && cp -a "$demo/kek" "$demo/replaced-$place"
    check "the key is changed once more" exit_code_is 0 cli keys rotate
    for old in "$demo"/kek.until-*; do cmp -s "$old" "$demo/replaced-$place" && break; done
    mkdir "$demo/others-$place" && mv "$old" "$demo/long-ago" && mv "$demo"/kek.until-* "$demo/others-$place"
    mv "$demo/long-ago" "$demo/kek.until-20200101T000000Z"
    cp -a "$demo/late-key" "$demo/vault/keys/$demo_machine"
    check "keys retire is killed at $place" killed_at "$place" cli keys retire "$demo/kek.until-20200101T000000Z"
    check "$place: the old key is there once, under the time of now" test "$(olds | grep -vc until-2020)" = "$(olds | wc -l)" -a "$(olds | wc -l)" = 1
    check "$place: as it was" kept "$demo/replaced-$place"
    check "$place: it may not be destroyed" exit_code_is 0 cli keys retire "$demo/$(olds)"
    check "$place: and retire says so" said "^KEEP "
    check "$place: all is wrapped by the new key" brings_back "$demo/kek" "$demo/vault"
done

demo_start_server
wait_for 180 "the agent to come back" agent_live
writer_go
new_point() {  # A server that has just begun may give one up.
    local i
    for i in {1..20}; do
        note_point "new-$i" committed && return
        writer_go
    done
    return 1
}
check "a server goes on with the last key" new_point
cases_end
