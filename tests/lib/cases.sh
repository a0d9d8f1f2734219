# One line per case, as tests/run counts them. Source it; cases_end is the last command of a script.

cases_failed=0
pass() { echo "PASS $*"; }
fail() { echo "FAIL $*"; cases_failed=$((cases_failed + 1)); }

# check NAME COMMAND…: a command that is one case.
check() {
    local name=$1; shift
    if "$@"; then pass "$name"; else fail "$name"; fi
}

# exit_code_is CODE COMMAND…: what it printed is in $demo/last.out, and shown when the code is another.
exit_code_is() {
    local wanted=$1 got; shift
    "$@" >"$demo/last.out" 2>&1; got=$?
    [ $got -eq "$wanted" ] || { cat "$demo/last.out"; echo "exit code $got"; false; }
}

# said PATTERN: by the command before, as exit_code_is ran it.
said() { grep -q -- "$1" "$demo/last.out" || { cat "$demo/last.out"; false; }; }

# no_name_is_a_file: of those with which hostile peers come, beneath $demo or where a command of theirs would leave one. A search
# that fails has found nothing out.
no_name_is_a_file() {
    local found
    found=$(find "$demo" -ignore_readdir_race -maxdepth 6 \( -name '*passwd*' -o -name '*owned*' -o -name '*gnp*' \)) || return 1
    [ -z "$found" ] && [ ! -e /tmp/owned ] || { echo "there is $found"; false; }
}
# no_name_became_a_file: the same, by a search that was seen to find one.
no_name_became_a_file() {
    : > "$demo/state/x-owned" && ! no_name_is_a_file >/dev/null && rm "$demo/state/x-owned" && no_name_is_a_file
}

cases_end() { [ $cases_failed -eq 0 ]; }
