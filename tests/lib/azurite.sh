# Starts Azurite from build/npm on a free loopback port. Source it; azurite_stop runs at exit.

azurite_pids=()
azurite_dir=$(mktemp -d "${TMPDIR:-/tmp}/causeway-azurite.XXXXXX")

azurite_stop() {
    local pid
    for pid in "${azurite_pids[@]:-}"; do
        [ -n "$pid" ] && kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    rm -rf "$azurite_dir"
}
trap azurite_stop EXIT
trap 'exit 130' INT TERM

# azurite_start NAME OPTION…: sets azurite_port. Azurite itself prints the port it was given for 0.
azurite_start() {
    local name=$1 log=$azurite_dir/$1.log main=build/npm/node_modules/azurite/dist/src/blob/main.js; shift
    [ -f "$main" ] || { echo "Azurite is not installed: ./tests/run --layer e2e installs it" >&2; return 1; }
    mkdir -p "$azurite_dir/$name"
    node "$main" --blobHost 127.0.0.1 --blobPort 0 --location "$azurite_dir/$name" --disableTelemetry \
        --skipApiVersionCheck "$@" >"$log" 2>&1 &
    azurite_pids+=($!)
    local deadline=$((SECONDS + 180))
    while [ $SECONDS -lt $deadline ]; do
        azurite_port=$(sed -n 's#.*listens on https\?://127\.0\.0\.1:\([0-9]*\).*#\1#p' "$log" | head -n 1)
        [ -z "$azurite_port" ] || return 0
        kill -0 "${azurite_pids[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    return 1
}

# A certificate for 127.0.0.1: azurite.crt and azurite.key in $azurite_dir.
azurite_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=azurite \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$azurite_dir/azurite.key" -out "$azurite_dir/azurite.crt" 2>/dev/null
}
