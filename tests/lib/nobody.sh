# Another user of this host, who tries every door. Source it after tests/lib/cases.sh and tests/lib/demo.sh; it needs root.

as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

# open_to_nobody: of the paths on standard input, a line each, those that nobody can read from or write to.
open_to_nobody() {
    as_nobody bash -c 'while IFS= read -r path; do
        if head -c 1 -- "$path" >/dev/null 2>&1 || [ -w "$path" ]; then echo "$path"; fi
    done'
}
# listed_by_nobody: the same for directories.
listed_by_nobody() {
    as_nobody bash -c 'while IFS= read -r path; do if ls -- "$path" >/dev/null 2>&1; then echo "$path"; fi; done'
}
# none_of WHAT: a case, as many as there are lines on standard input; each of them is what should not be.
none_of() {
    local name=$1 found
    found=$(cat)
    [ -z "$found" ] || printf 'open: %s\n' "$found"
    check "$name" test -z "$found"
}

# 7 is curl's word for a connection that was not made; python may live where nobody may not go.
no_way_in() { as_nobody curl -s -o /dev/null --max-time 5 --unix-socket "$1" http://causeway/; [ $? -eq 7 ]; }
no_way_into_abstract() { as_nobody curl -s -o /dev/null --max-time 5 --abstract-unix-socket "$1" http://causeway/; [ $? -eq 7 ]; }
# A port is open to all: nothing of use is served there to who shows no certificate, with TLS or without.
nothing_served() {
    local scheme path code
    for scheme in http https; do
        for path in / /metrics /v1/status /v1/events /v1/machines /v1/reload; do
            code=$(as_nobody curl -sk -o /dev/null -w '%{http_code}' --max-time 10 "$scheme://127.0.0.1:$1$path")
            case $code in 2* | 3*) echo "$scheme://127.0.0.1:$1$path: $code"; return 1 ;; esac
        done
    done
}

# nobody_knocks PID…: a case for every socket on which these processes wait; $knocked is how many there were of each kind.
declare -A knocked
nobody_knocks() {
    local kind where
    while read -r kind where; do
        knocked[$kind]=$((${knocked[$kind]:-0} + 1))
        case $kind in
            unix) check "nobody can connect to ${where#"$demo"/}" no_way_in "$where" ;;
            abstract) check "nobody can connect to the abstract socket $where" no_way_into_abstract "$where" ;;
            tcp) check "nothing is served to nobody at port $where" nothing_served "$where" ;;
            file) ;;
            *) fail "$kind $where is no door that is known here" ;;
        esac
    done < <(python3 tests/lib/open_doors.py "$@")
}
# held_files PID…: what these processes hold open.
held_files() { python3 tests/lib/open_doors.py "$@" | sed -n 's/^file //p'; }
