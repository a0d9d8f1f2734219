# Looks at what programs show for what must not reach a terminal. Source it after demo.sh and cases.sh, and set $shown, a
# directory that is there: what a command said lies in it afterwards, under the name of the case.

# shows NAME COMMAND…: what it says is kept as a file of that name, and carries nothing raw.
shows() {
    local name=$1; shift
    "$@" >"$shown/$name" 2>&1
    [ -s "$shown/$name" ] || fail "$name says something"
    check "$name shows nothing raw" python3 tests/e2e/unprintable.py "$shown/$name"
}
# parses NAME COMMAND…: and is JSON, too.
parses() {
    shows "$@"
    check "$1 is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$shown/$1"
}
both() {  # NAME WORD…: of the operator's program, as text and as JSON.
    local name=$1; shift
    shows "$name" cli "$@"
    parses "$name --json" cli --json "$@"
}
has() { grep -qF -- "$2" "$shown/$1" || { echo "$1 has no $2"; false; }; }
