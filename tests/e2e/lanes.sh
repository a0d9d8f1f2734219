#!/usr/bin/env bash
# The lanes that run for hours, and the books they keep: what they refuse, what survives a kill while a line is written, what
# is fuzzed next, and that the track record names what is there. Usage: lanes.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
tree=$PWD sim=$build/tests/causeway_sim
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/lanes.sh
demo_begin
unset CAUSEWAY_TRACK_RECORD

# refuses_hours TEXT: at once, and says why.
refuses_hours() { exit_code_is 2 timeout 300 bash tests/run --soak "$1" && said "^tests/run: --soak takes hours, more than 0, not '$1'"; }
for hours in abc -1 0 0.0 1h 1e3 ''; do check "--soak '$hours' is refused" refuses_hours "$hours"; done
for hours in 1 0.5 08; do check "--soak $hours is understood" exit_code_is 0 timeout 300 bash tests/run --soak $hours --help; done
check "a soak without hours is refused" exit_code_is 2 timeout 300 bash tests/run --layer soak
check "seeds.sh refuses what is no number of hours" exit_code_is 2 timeout 300 bash tests/soak/seeds.sh "$build" abc

# A checkout of its own: what counts as its commit.
new_checkout() {
    mkdir -p "$demo/checkout/tests/sim" "$demo/checkout/docs" && cd "$demo/checkout" || return 1
    : >a.cc && : >tests/sim/ledger.jsonl && : >docs/fault-report.md
    git init -q . && git add . && git -c user.name=x -c user.email=x@localhost commit -q -m x
}
commit_id_is() { [ "$(cd "$demo/checkout" && commit_id)" = "$1" ] || { (cd "$demo/checkout" && commit_id); false; }; }
if (new_checkout); then
    digits=$(git -C "$demo/checkout" rev-parse --short HEAD)
    check "a clean tree is its commit" commit_id_is "$digits"
    echo '{}' >"$demo/checkout/tests/sim/ledger.jsonl"; echo x >"$demo/checkout/docs/fault-report.md"
    check "what counting changes leaves a tree its commit" commit_id_is "$digits"
    : >"$demo/checkout/b.cc"
    check "a tree with another file is no commit" commit_id_is "$digits-dirty"
    rm "$demo/checkout/b.cc"; echo x >"$demo/checkout/a.cc"
    check "a tree with a changed file is no commit" commit_id_is "$digits-dirty"
fi
outside_is_unknown() { [ "$(cd "$demo" && GIT_CEILING_DIRECTORIES=$(dirname "$demo") commit_id)" = unknown ]; }
check "outside of a checkout the commit is unknown" outside_is_unknown

ledger=$demo/ledger.jsonl log=$demo/fuzz.log
printf 'Done 70 runs in 40 second(s)\n' >"$log"
to_books() { tests/soak/ledger.py "$ledger" 1a2b3c4 "$@"; }
# What was being written when its writer was killed.
tear() { printf '{"commit":"1a2b3c4","kind":"fu' >>"$ledger"; }
fuzzed_minutes() { "$sim" --report "$ledger" 2>"$demo/said" | sed -n "s/^| $1 | \([0-9]*\) |.*/\1/p"; }
survives_a_torn_line() {
    local i
    rm -f "$ledger"
    for i in 1 2 3; do to_books fuzz frame "$log" && tear || return 1; done
    [ "$(fuzzed_minutes frame)" = 2 ] && grep -q "ledger.jsonl:[4]: broken off after 30 bytes" "$demo/said" || { cat "$ledger" "$demo/said"; false; }
}
check "what is counted behind a torn line counts, and the torn one is told" survives_a_torn_line
campaign_survives() {
    exit_code_is 0 "$sim" --report "$ledger" --seeds +2 --commit 1a2b3c4 && said "^| schedules | 2 |" &&
        said "broken off, and are left out here | 3 |" && exit_code_is 0 "$sim" --report "$ledger" --seeds +1 && said "^| schedules | 3 |"
}
check "so do schedules" campaign_survives
check "a log of nothing done adds nothing" exit_code_is 1 tests/soak/ledger.py "$ledger" 1a2b3c4 fuzz frame /dev/null
check "a ledger on a full disk is told" exit_code_is 2 tests/soak/ledger.py /dev/full 1a2b3c4 fuzz frame "$log"
check "a ledger in no directory is told" exit_code_is 2 tests/soak/ledger.py "$demo/nope/x" 1a2b3c4 fuzz frame "$log"
check "words are no commit for what is counted" exit_code_is 2 tests/soak/ledger.py "$ledger" "1a2b3c4 with clones" fuzz frame "$log"
check "words are no commit for schedules" exit_code_is 2 "$sim" --report "$ledger" --seeds +1 --commit "1a2b3c4 with clones"
is_no_report() { ! grep -q '^# Fault report' "$demo/last.out"; }
no_report() { exit_code_is 1 "$sim" --report "$@" && said "^causeway_sim: the ledger " && is_no_report; }
check "schedules for a ledger in no directory do not run" no_report "$demo/nope/x" --seeds +1
check "a ledger that is not there makes no report" no_report "$demo/nothing.jsonl"
check "a directory is no ledger" no_report "$demo" --seeds +1
printf '{"commit":"1a2b3c4","kind":"dreams"}\n' >"$demo/dreams.jsonl"
unknown_kind() { exit_code_is 1 "$sim" --report "$demo/dreams.jsonl" && said 'dreams.jsonl:[1]: .*"dreams"' && is_no_report; }
check "a line of an unknown kind makes no report" unknown_kind

printf '### %s · 1a2b3c4 · mended in 2b3c4d5\nWords.\n' 12 twelve >"$demo/record.md"
bad_record() { CAUSEWAY_TRACK_RECORD=$demo/record.md exit_code_is 1 "$sim" --ci && said 'FAIL sim: .*record.md:[3]: "twelve" is no seed'; }
kept_seeds_run() {
    printf '### %s · 1a2b3c4 · mended in 2b3c4d5\nWords.\n' '3, 20000' '20000, 20001' >"$demo/kept.md"
    CAUSEWAY_TRACK_RECORD=$demo/kept.md exit_code_is 0 "$sim" --kept && said '^ok .* 3 kept seeds' && said '^3 passed, 0 failed'
}
check "each seed of the track record runs once" kept_seeds_run
check "CI fails when the track record has a seed that it cannot read" bad_record

# A tree of its own with programs that are fuzzed in no time.
soak_in_small() {
    local target
    mkdir -p "$demo/tree/tests/e2e" "$demo/tree/build/release" "$demo/tree/build/fuzz/fuzz" && cp -r tests/soak tests/lib "$demo/tree/tests" || return 1
    echo 'echo "7 kills of the server,"' >"$demo/tree/tests/e2e/crash.sh"
    for target in much none little canary; do
        printf '#!/bin/sh\necho "Done 9 runs in 300 second(s)"\n' >"$demo/tree/build/fuzz/fuzz/fuzz_$target"
        chmod +x "$demo/tree/build/fuzz/fuzz/fuzz_$target"
    done
    printf '{"commit":"1a2b3c4","executions":1,"found":0,"kind":"fuzz","seconds":%s,"target":"%s"}\n' 9000 much 100 little >"$demo/small.jsonl"
    CAUSEWAY_LEDGER=${1:-$demo/small.jsonl} CAUSEWAY_REPORT=$demo/small.md CAUSEWAY_SOAK_TURNS=4 timeout 600 \
        bash "$demo/tree/tests/soak/seeds.sh" "$demo/tree/build/release" 1 >"$demo/soak.out" 2>&1
}
fuzzes_the_least_first() {
    soak_in_small || { cat "$demo/soak.out"; return 1; }
    local order
    order=$(sed -n '3,$s/.*"kind":"fuzz".*"target":"\([a-z]*\)".*/\1/p' "$demo/small.jsonl" | tr '\n' ' ')
    [ "$order" = "none little much none " ] || { echo "$order"; false; }
}
check "a soak fuzzes first what was fuzzed least, and all before any again" fuzzes_the_least_first
soak_says_so() { ! soak_in_small "$demo/nope/x" && grep -q '^FAIL ledger: ' "$demo/soak.out"; }
check "a soak that cannot be counted has failed" soak_says_so

record=tests/sim/track_record.md
tests_are_there() {
    local name suite claims=0
    while IFS=. read -r suite name; do
        claims=$((claims + 1)) suite=${suite##*/} name=${name%\*}
        grep -rqE "(\(|^ +)$suite, *$name" --include='*_test.cc' tests || { echo "no test $suite.$name"; return 1; }
    done < <(sed -n '/^Kept by/,/^$/p' "$record" | grep -oE '`[A-Za-z/]+\.[A-Z][A-Za-z0-9_]*\*?' | tr -d '`')
    [ $claims -ge 40 ] || { echo "$claims tests are named"; false; }
}
check "each test that the track record names is there" tests_are_there
commits_are_there() {
    local commit commits=0
    for commit in $({ sed -n 's/^### [^·]*·//p' "$record" | grep -oE '\b[0-9a-f]{7,40}\b'
        sed -nE 's/.*"commit":"([0-9a-f]+).*/\1/p' tests/sim/ledger.jsonl; } | sort -u); do
        commits=$((commits + 1))
        git merge-base --is-ancestor "$commit" HEAD || { echo "$commit is not in this history"; return 1; }
    done
    [ $commits -ge 50 ] || { echo "$commits commits are named"; false; }
}
# What was unpacked, or cloned without its history, cannot tell.
if [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = false ]; then
    check "each commit that the track record and the ledger name is in this history" commits_are_there
fi
cases_end
