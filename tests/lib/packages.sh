# Installs what a bare Debian 12 lacks. Lists: tests/lib/packages-<group>.txt, one package per line.

# install_packages GROUP…: as root, or through sudo; nothing happens when all are there.
install_packages() {
    local group package missing=()
    for group in "$@"; do
        while read -r package; do
            case $package in '' | '#'*) continue ;; esac
            dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
        done < "$(dirname "${BASH_SOURCE[0]}")/packages-$group.txt"
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing: ${missing[*]}"
    local sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}
