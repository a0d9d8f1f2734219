# Installs what a bare Debian 12 lacks. Lists: tests/lib/packages-<group>.txt, one package per line.

# install_packages GROUP…: as root, or through sudo; nothing happens when all are there.
install_packages() {
    local group package missing=() sudo=()
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
        { echo "This needs Debian 12 (or what is like it): there is no apt-get here." >&2; return 1; }
    for group in "$@"; do
        while read -r package; do
            case $package in '' | '#'*) continue ;; esac
            [[ " ${missing[*]:-} " = *" $package "* ]] ||
                dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
        done < "$(dirname "${BASH_SOURCE[0]}")/packages-$group.txt"
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            printf 'Packages are missing, and without root or sudo they cannot be installed. As root, run:\n' >&2
            printf '  apt-get update && apt-get install -y --no-install-recommends %s\n' "${missing[*]}" >&2
            return 1
        fi
        sudo=(sudo)
    fi
    echo "installing: ${missing[*]}"
    apt_get update && apt_get install -y --no-install-recommends "${missing[@]}"
}

# apt_get ARGUMENT…: quiet unless it fails. A machine that has just started may still be installing things of its own.
apt_get() {
    local try log
    log=$(mktemp)
    for try in 1 2 3; do
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=5 "$@" \
            </dev/null >"$log" 2>&1 && { rm -f "$log"; return 0; }
        sleep $((try * 5))
    done
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "apt-get $1 failed: is there a network, and is this a Debian 12 with its package mirrors?" >&2
    return 1
}
