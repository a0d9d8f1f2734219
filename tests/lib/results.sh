# Running things and counting what came out. Source it; used by tests/run.

total_passed=0 total_failed=0 failures=()

passed_case() { total_passed=$((total_passed + 1)); }
failed_case() { total_failed=$((total_failed + 1)); failures+=("$layer_name: $1"); printf 'FAILED: %s\n' "$1"; }

begin_layer() {
    layer_name=$1 layer_started=$SECONDS layer_passed=$total_passed layer_failed=$total_failed
    printf '\n== %s\n' "$1"
}
end_layer() {
    printf '== %s: %d passed, %d failed, %d s\n' "$layer_name" $((total_passed - layer_passed)) \
        $((total_failed - layer_failed)) $((SECONDS - layer_started))
}

# quietly NAME COMMAND…: output goes to build/results/NAME.log and is shown only when the command fails.
quietly() {
    local log=build/results/$1.log; shift
    "$@" >"$log" 2>&1 </dev/null && return
    grep -E -A3 'error|FAILED|Error' "$log" | head -n 60
    echo "(all of it: $log)"
    return 1
}

# case_of NAME COMMAND…: a command that is one case; its output is shown when it fails. Keeps standard input.
case_of() {
    local name=$1 log=build/results/${1%% *}.log; shift
    if "$@" >"$log" 2>&1; then
        passed_case "$name"
    else
        tail -n 60 "$log"
        failed_case "$name"
    fi
}

number_in() { sed -n "s/^ *\"$2\": \([0-9]*\),*$/\1/p" "$1" | head -n 1; }

# add_gtest FILE: counts one GoogleTest report. A skipped test is neither passed nor failed.
add_gtest() {
    local tests failed skipped
    tests=$(number_in "$1" tests) failed=$(number_in "$1" failures)
    skipped=$(grep -c '"result": "SKIPPED"' "$1")
    total_passed=$((total_passed + ${tests:-0} - ${failed:-0} - skipped - $(number_in "$1" disabled)))
    [ "${failed:-0}" -eq 0 ] || {
        total_failed=$((total_failed + failed))
        failures+=("$layer_name: $failed in $(basename "$1" .json)")
    }
}

# run_ctest PRESET OPTION…: all tests of a build tree. GoogleTest programs are counted by test, others by program.
run_ctest() {
    local preset=$1 reports=$PWD/build/results/$1 log=build/results/ctest-$1.log report line name; shift
    rm -rf "$reports" && mkdir -p "$reports"
    GTEST_OUTPUT=json:$reports/ ctest --test-dir "build/$preset" -j "$jobs" --timeout "${CAUSEWAY_TEST_TIMEOUT:-300}" \
        --no-tests=error --output-on-failure "$@" >"$log" 2>&1 || grep -vE '^\[ +(OK|RUN) +\]|Passed' "$log" | tail -n 120
    for report in "$reports"/*.json; do
        [ -e "$report" ] && add_gtest "$report"
    done
    while read -r line; do
        name=$(sed -E 's/^.*Test +#[0-9]+: ([^ ]+) .*/\1/' <<<"$line")
        report=$reports/$name.json
        case $line in
            *Passed*) [ -e "$report" ] || passed_case "$name" ;;
            *)  # A crash or a timeout leaves no failed test in the report, or no report.
                [ -e "$report" ] && [ "$(number_in "$report" failures)" != 0 ] || failed_case "$name" ;;
        esac
    done < <(grep -E '^ *[0-9]+/[0-9]+ Test +#' "$log")
    grep -qE 'No tests were found' "$log" && failed_case "no tests in build/$preset"
    return 0
}

# run_script FILE ARGUMENT…: lines "PASS name" and "FAIL name" are cases. A bad exit without a FAIL line is one failure.
run_script() {
    local script=$1 name log status=0 line had_failure=no; shift
    name=$(basename "$script" .sh) log=build/results/$(basename "$script" .sh).log
    printf -- '-- %s\n' "$name"
    timeout --kill-after=30 "${CAUSEWAY_SCRIPT_TIMEOUT:-900}" bash "$script" "$@" >"$log" 2>&1 || status=$?
    while read -r line; do
        case $line in
            'PASS '*) passed_case "$name: ${line#PASS }" ;;
            'FAIL '*) had_failure=yes; failed_case "$name: ${line#FAIL }" ;;
        esac
    done < <(grep -E '^(PASS|FAIL) ' "$log")
    if [ $status -ne 0 ] && [ $had_failure = no ]; then
        failed_case "$name (exit status $status)"
    fi
    [ $status -eq 0 ] && [ $had_failure = no ] || tail -n 40 "$log"
}

# Says what failed, then the line that others read; the exit status follows it.
summary() {
    local one
    printf '\n%d s in all\n' "$SECONDS"
    for one in "${failures[@]:+${failures[@]}}"; do printf 'FAILED: %s\n' "$one"; done
    printf '%d passed, %d failed\n' "$total_passed" "$total_failed"
    [ "$total_failed" -eq 0 ] && [ "$total_passed" -gt 0 ]
}
