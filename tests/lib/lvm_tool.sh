#!/usr/bin/env bash
# What stands in for lvs, lvcreate and lvremove (it is called by one of these names) where the kernel has no device mapper: a
# volume group is a directory, CAUSEWAY_LVM in the link's own directory. Beside ORIGIN.path, which names the device of the
# volume group's one origin, it has NAME.path and NAME.tag for each snapshot: a copy of the origin behind a loop device.
# Files there make it fail as the real ones do: no-space, full (the snapshot is invalid), busy (lvremove, as often as it has
# lines), hang (lvcreate, until it is gone), stay (lvs of a snapshot, the same). Every call is noted in `calls`.
set -uo pipefail
group=$(dirname "$0")/vg0
tool=$(basename "$0")
origin=$(<"$group/ORIGIN.path")
echo "$tool $*" >> "$group/calls"
row() { # NAME: as lvs -o vg_name,lv_name,lv_attr,lv_path,pool_lv,lv_tags says it.
    local attributes=-wi-ao---- path tag='' pool=''
    [ ! -e "$group/thin" ] || { attributes=Vwi-aotz--; pool=pool0; }
    if [ "$1" = ORIGIN ]; then
        echo "  vg0|data|$attributes|$origin|$pool|"
        return
    fi
    attributes=sri-a-s---
    [ ! -e "$group/thin" ] || attributes=Vri-a-tz-k
    [ ! -e "$group/full" ] || attributes=sri-I-s---
    path=$(<"$group/$1.path") tag=$(<"$group/$1.tag")
    echo "  vg0|$1|$attributes|$path|$pool|$tag"
}
snapshots() { for each in "$group"/causeway-*.path; do [ ! -e "$each" ] || basename "$each" .path; done; }
case $tool in
    lvs)
        which=${*: -1}
        case $which in
            *vg_name*) row ORIGIN; for name in $(snapshots); do row "$name"; done ;;
            "$origin") row ORIGIN ;;
            vg0/*) while [ -e "$group/stay" ]; do sleep 0.1; done
                [ -e "$group/${which#vg0/}.path" ] || { echo "  Failed to find logical volume \"$which\"" >&2; exit 5; }
                row "${which#vg0/}" ;;
            *) echo "  Failed to find device \"$which\"." >&2; exit 5 ;;
        esac ;;
    lvcreate)
        while [ $# -gt 1 ]; do
            case $1 in --name) name=$2 ;; --addtag) tag=$2 ;; esac
            shift
        done
        while [ -e "$group/hang" ]; do sleep 0.1; done
        [ "$1" = vg0/data ] || { echo "  Volume group \"$1\" not found" >&2; exit 5; }
        [ ! -e "$group/no-space" ] || {
            echo '  Volume group "vg0" has insufficient free space (0 extents): 2 required.' >&2; exit 5; }
        [ ! -e "$group/$name.path" ] || { echo "  Logical Volume \"$name\" already exists in volume group \"vg0\"" >&2; exit 5; }
        # The kernel freezes what is mounted on the origin while the snapshot comes to be.
        mount=$(cat "$group/mount" 2>/dev/null)
        [ -z "$mount" ] || fsfreeze -f "$mount" || { echo "  device-mapper: suspend ioctl on (254:0) failed: Device or resource busy" >&2; exit 5; }
        dd if="$origin" of="$group/$name.image" bs=1M iflag=direct status=none
        made=$?
        [ -z "$mount" ] || fsfreeze -u "$mount"
        [ $made = 0 ] || exit 5
        echo "$tag" > "$group/$name.tag"
        device=$(losetup -r -f --show "$group/$name.image") || exit 5
        echo "$device" > "$group/$name.path"
        echo "  Logical volume \"$name\" created." ;;
    lvremove)
        name=${*: -1} name=${name#vg0/}
        [ -e "$group/$name.path" ] || { echo "  Failed to find logical volume \"vg0/$name\"" >&2; exit 5; }
        if [ -s "$group/busy" ]; then
            sed -i 1d "$group/busy"
            echo "  Logical volume vg0/$name in use." >&2
            exit 5
        fi
        losetup -d "$(<"$group/$name.path")" && rm "$group/$name".* && echo "  Logical volume \"$name\" successfully removed." ;;
esac
