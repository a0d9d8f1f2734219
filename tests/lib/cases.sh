# One line per case, as tests/run counts them. Source it; cases_end is the last command of a script.

cases_failed=0
pass() { echo "PASS $*"; }
fail() { echo "FAIL $*"; cases_failed=$((cases_failed + 1)); }

# check NAME COMMAND…: a command that is one case.
check() {
    local name=$1; shift
    if "$@"; then pass "$name"; else fail "$name"; fi
}

cases_end() { [ $cases_failed -eq 0 ]; }
