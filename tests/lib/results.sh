# Running things and counting what came out. Source it; used by tests/run.

total_passed=0 total_failed=0 failures=() details=() unable=() ctest_through=()

# failed_case NAME [TEXT]: TEXT is what the case said; it is shown again at the very end.
failed_case() {
    total_failed=$((total_failed + 1))
    failures+=("$layer_name: $1") details+=("${2:-}")
    printf 'FAILED: %s\n' "$1"
}
passed_case() { total_passed=$((total_passed + 1)); }
# not_run WHY: a layer that this machine cannot run; said again at the end.
not_run() { unable+=("$layer_name: $1"); printf 'NOT RUN: %s\n' "$1"; }

begin_layer() {
    layer_name=$1 layer_started=$SECONDS layer_passed=$total_passed layer_failed=$total_failed
    printf '\n== %s\n' "$1"
}
end_layer() {
    printf '== %s: %d passed, %d failed, %d s\n' "$layer_name" $((total_passed - layer_passed)) \
        $((total_failed - layer_failed)) $((SECONDS - layer_started))
}

# telling_lines LOG: the lines that say what went wrong, or else the last ones.
telling_lines() {
    local lines
    lines=$(grep -aE -A3 'error:|FAILED|ERROR: |runtime error|Sanitizer|ssert' "$1" | cut -c1-300 | head -n 12)
    [ -n "$lines" ] || lines=$(tail -n 12 "$1" | cut -c1-300)
    printf '%s\n' "$lines"
}

# quietly NAME COMMAND…: output goes to build/results/NAME.log and is shown only when the command fails.
quietly() {
    last_log=build/results/$1.log; shift
    "$@" >"$last_log" 2>&1 </dev/null && return
    grep -aE -A3 'error|FAILED|Error' "$last_log" | head -n 60
    echo "(all of it: $last_log)"
    return 1
}
# failed_step NAME: a case whose command `quietly` has just run in vain.
failed_step() { failed_case "$1" "$(telling_lines "$last_log")"; }

# case_of NAME COMMAND…: a command that is one case; its output is shown when it fails. Keeps standard input.
case_of() {
    local name=$1 log=build/results/${1%% *}.log; shift
    if "$@" >"$log" 2>&1; then
        passed_case "$name"
    else
        tail -n 60 "$log"
        failed_case "$name" "$(telling_lines "$log")"
    fi
}

# run_ctest PRESET OPTION…: all tests of a build tree. GoogleTest programs are counted by test, others by program.
run_ctest() {
    local preset=$1 reports=$PWD/build/results/$1 log=build/results/ctest-$1.log line name= text= count slowest; shift
    local junit=$reports/junit.xml
    rm -rf "$reports" && mkdir -p "$reports"
    GTEST_OUTPUT=json:$reports/ "${ctest_through[@]}" ctest --test-dir "build/$preset" -j "$jobs" --timeout "${CAUSEWAY_TEST_TIMEOUT:-900}" \
        --no-tests=error --output-on-failure --output-junit "$junit" "$@" >"$log" 2>&1
    local status=$? failed_before=$total_failed
    {
        read -r count line slowest || count=0
        total_passed=$((total_passed + count))
        [ -z "${slowest:-}" ] || echo "longest: $slowest"
        while IFS= read -r line; do
            case $line in
                'CASE '*) [ -z "$name" ] || failed_case "$name" "$text"; name=${line#CASE } text= ;;
                *) text+=${line#    }$'\n' ;;
            esac
        done
        [ -z "$name" ] || failed_case "$name" "$text"
    } < <(python3 tests/lib/ctest_report.py "$junit" "$reports" "$log" 2>>"$log")
    [ $status -eq 0 ] || echo "(all of it: $log)"
    [ $status -eq 0 ] || [ "$total_failed" -gt "$failed_before" ] ||
        failed_case "ctest in build/$preset (exit status $status)" "$(tail -n 12 "$log")"
}

# run_script FILE ARGUMENT…: output to build/results/NAME.log, exit status to NAME.status; settle_script counts them.
run_script() {
    local script=$1 name status=0 started=$SECONDS; shift
    name=$(basename "$script" .sh)
    timeout --kill-after=30 "${CAUSEWAY_SCRIPT_TIMEOUT:-1800}" bash "$script" "$@" >"build/results/$name.log" 2>&1 || status=$?
    echo "$status" >"build/results/$name.status"
    printf -- '-- %s: %d s\n' "$name" $((SECONDS - started))
}

# last_words LOG: what a script said before it gave up; the logs that it shows at its end are of others.
last_words() { sed '/^--- last lines of the logs in /,$d' "$1" | tail -n 12 | cut -c1-300; }

# settle_script FILE: lines "PASS name" and "FAIL name" are cases. A bad exit without a FAIL line is one failure.
settle_script() {
    local name log status line had_failure=no
    name=$(basename "$1" .sh) log=build/results/$(basename "$1" .sh).log
    status=$(cat "build/results/$name.status" 2>/dev/null) || status=unknown
    while read -r line; do
        case $line in
            'PASS '*) passed_case "$name: ${line#PASS }" ;;
            'FAIL '*)
                had_failure=yes
                failed_case "$name: ${line#FAIL }" "$(grep -aF -B 10 -- "$line" "$log" | cut -c1-300 | tail -n 11)" ;;
        esac
    done < <(grep -aE '^(PASS|FAIL) ' "$log")
    if [ "$status" != 0 ] && [ $had_failure = no ]; then
        failed_case "$name (exit status $status)" "$(last_words "$log")"
    fi
    [ "$status" = 0 ] && [ $had_failure = no ] || tail -n 40 "$log"
}

# run_counted NAME COMMAND…: a program whose lines "ok name" or "PASS name" and "FAIL name" are cases; or it says
# "N passed, M failed" at the end. One that says neither has failed.
run_counted() {
    local name=$1 log=build/results/${1// /-}.log status=0 passed= failed=0 line; shift
    "$@" >"$log" 2>&1 || status=$?
    read -r passed failed < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$log" | tail -n 1)
    [ -n "$passed" ] || passed=$(grep -caE '^(ok|PASS) ' "$log")
    total_passed=$((total_passed + passed))
    while read -r line; do
        failed_case "$name: ${line#FAIL }" "$(grep -aF -A 10 -- "$line" "$log" | cut -c1-300 | head -n 11)"
        failed=$((failed - 1))
    done < <(grep -aE '^FAIL ' "$log")
    if [ "${failed:-0}" -gt 0 ] || { [ $status -ne 0 ] && ! grep -qaE '^FAIL ' "$log"; } ||
        { [ $status -eq 0 ] && [ "$passed" = 0 ]; }; then
        failed_case "$name (exit status $status)" "$(telling_lines "$log")"
    fi
    [ $status -eq 0 ] || tail -n 40 "$log"
}

# Says what failed and what it said, then the line that others read; the exit status follows it.
summary() {
    local i
    printf '\n%d s in all\n' "$SECONDS"
    for i in "${!failures[@]}"; do
        printf '\nFAILED: %s\n' "${failures[i]}"
        [ -z "${details[i]}" ] || sed 's/^/    /' <<<"${details[i]%$'\n'}"
    done
    [ ${#unable[@]} -eq 0 ] || printf 'NOT RUN: %s\n' "${unable[@]}"
    printf '%d passed, %d failed\n' "$total_passed" "$total_failed"
    [ "$total_failed" -eq 0 ] && [ "$total_passed" -gt 0 ]
}
