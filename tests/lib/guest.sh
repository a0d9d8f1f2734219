# A tiny virtual machine for the tests: BIOS, boot loader, Debian's cloud kernel, busybox. It boots under TCG in a few
# seconds and writes an application log. No root, no loop devices. Source it after tests/lib/demo.sh.
#
# Its kernel does not ask whether the timer ticks in time: on a busy machine it does not, and that would be a panic.
#
# The guest's disk has a FAT partition to boot from and an ext4 partition with /log ("line 1", "line 2", …, each synced
# before the next) and /files, each of which says its own number over and over. Each line is said on the serial console
# after its sync: what was said there is what the guest was promised. If there is a second disk, it holds the number of the
# last line; a third one is written all the time, whatever becomes of the others. The console says the longest pause between
# two lines as well. A guest that finds a log says "FOUND last=…" first, and goes on.

guest_cache=build/guest
guest_root_mib=33
guest_packages=(qemu-system-x86 syslinux syslinux-common mtools busybox-static cpio qemu-guest-agent)

guest_kernel_package() {
    apt-cache search --names-only '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' | sort -V | tail -n 1 | cut -d' ' -f1
}
# The kernel of a Debian package that need not be installed. Kept in build/.
guest_kernel() {
    [ ! -e $guest_cache/kernel/ready ] || return 0
    local work name
    name=$(guest_kernel_package)
    [ -n "$name" ] || { apt-get update -qq >/dev/null 2>&1; name=$(guest_kernel_package); }  # Images ship without lists.
    [ -n "$name" ] || { echo "no cloud kernel in the package lists (apt-get update)" >&2; return 1; }
    mkdir -p $guest_cache
    work=$(mktemp -d "$PWD/$guest_cache/fetch.XXXXXX") &&
        (cd "$work" && apt-get download "$name" >download.log 2>&1 && dpkg-deb -x ./*.deb x && rm -f ./*.deb) || return 1
    mkdir -p "$work/kernel"
    cp "$work"/x/boot/vmlinuz-* "$work/kernel/vmlinuz" || return 1
    local module
    for module in virtio/virtio virtio/virtio_ring virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev \
        virtio/virtio_pci block/virtio_blk char/virtio_console; do
        cp "$work"/x/lib/modules/*/kernel/drivers/$module.ko "$work/kernel/" || return 1
    done
    : > "$work/kernel/ready"
    mv -T "$work/kernel" $guest_cache/kernel 2>/dev/null || [ -e $guest_cache/kernel/ready ]
    rm -rf "$work"
}

guest_init() {
    cat <<'INIT'
#!/bin/sh
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_console; do
    insmod /lib/modules/$m.ko
done
until [ -b /dev/vda2 ]; do sleep 0.05; done
mount -t ext4 /dev/vda2 /mnt || { echo "NO ROOT"; poweroff -f; }
mkdir -p /mnt/files
i=$(wc -l </mnt/log 2>/dev/null || echo 0)
[ "$i" = 0 ] || echo "FOUND last=$(tail -n 1 /mnt/log | cut -d' ' -f2)"
rm -f /mnt/files/$i /mnt/files/$((i - 1))  # Perhaps cut short.
if [ -x /bin/qemu-ga ]; then
    for n in 1 2 3 4 5 6 7 8 9 10; do [ -c /dev/vport1p1 ] || [ -c /dev/vport2p1 ] || sleep 0.05; done
    for port in /dev/vport1p1 /dev/vport2p1; do
        [ -c $port ] && /bin/qemu-ga -m virtio-serial -p $port -t /tmp -f /tmp/qga.pid -F/etc/fsfreeze-hook &
    done
fi
[ ! -b /dev/vdc ] || while :; do echo x | dd of=/dev/vdc bs=512 count=1 conv=sync,fsync 2>/dev/null; sleep 0.05; done &
now() { read -r up idle < /proc/uptime; t=${up%.*}${up#*.}; }
now; before=$t pause=0
while :; do
    i=$((i+1))
    echo "line $i" >> /mnt/log; sync
    [ -b /dev/vdb ] && echo "$i" | dd of=/dev/vdb bs=512 count=1 conv=sync,fsync 2>/dev/null
    if [ $((i % 5)) = 0 ]; then
        yes $i | head -c $(((i % 40 + 1) * 4096)) > /mnt/files/$i
        rm -f /mnt/files/$((i - 40))
    fi
    now; d=$((t - before)); before=$t; [ $d -gt $pause ] && pause=$d
    echo "LINE $i pause=${pause}0ms"
done
INIT
}

# What a freeze calls in a guest with an agent: it says so on the console, and refuses while there is /tmp/refuse.
guest_hook() {
    cat <<'HOOK'
#!/bin/sh
echo "HOOK $1" > /dev/console
[ "$1" != freeze ] || [ ! -e /tmp/refuse ]
HOOK
}

# guest_image FILE: a fresh disk, about a second.
guest_image() {
    local image=$1 work i library
    guest_kernel || return 1
    work=$(mktemp -d "${TMPDIR:-/tmp}/causeway-guest.XXXXXX")
    mkdir -p "$work"/i/{bin,dev,proc,sys,mnt,tmp,etc,lib/modules,var/run}
    ln -s ../tmp "$work/i/run"
    cp /usr/bin/busybox "$work/i/bin/"
    for i in sh mount umount insmod cat echo ls mkdir sync sleep poweroff wc tail cut touch dd rm yes head; do ln -s busybox "$work/i/bin/$i"; done
    cp $guest_cache/kernel/*.ko "$work/i/lib/modules/"
    if [ -n "${guest_with_agent:-}" ]; then
        cp /usr/sbin/qemu-ga "$work/i/bin/"
        guest_hook > "$work/i/etc/fsfreeze-hook" && chmod +x "$work/i/etc/fsfreeze-hook"
        ldd /usr/sbin/qemu-ga | grep -o '/[^ ]*' | while read -r library; do
            mkdir -p "$work/i$(dirname "$library")"
            cp -L "$library" "$work/i$library"
        done
    fi
    guest_init > "$work/i/init" && chmod +x "$work/i/init"
    (cd "$work/i" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initrd"
    rm -f "$image" && truncate -s 97M "$image"
    printf 'start=2048, size=65536, type=c, bootable\nstart=67584, size=131072, type=83\n' | sfdisk -q "$image" || return 1
    # Syslinux wants an image of its own; the partition is put in afterwards.
    truncate -s 32M "$work/boot"
    mformat -i "$work/boot" -T 65536 -H 2048 -h 64 -s 32 ::
    cat > "$work/syslinux.cfg" <<'CFG'
SERIAL 0 115200
DEFAULT linux
PROMPT 0
TIMEOUT 1
LABEL linux
 LINUX vmlinuz
 INITRD initrd
 APPEND quiet console=ttyS0 panic=-1 no_timer_check nowatchdog
CFG
    mcopy -i "$work/boot" $guest_cache/kernel/vmlinuz "$work/initrd" "$work/syslinux.cfg" :: &&
        syslinux --install "$work/boot" || return 1
    dd if="$work/boot" of="$image" bs=1M seek=1 conv=notrunc,sparse status=none
    truncate -s 64M "$work/root"
    mke2fs -q -t ext4 -L root -F "$work/root" || return 1
    dd if="$work/root" of="$image" bs=1M seek=$guest_root_mib conv=notrunc,sparse status=none
    dd if=/usr/lib/syslinux/mbr/mbr.bin of="$image" bs=440 count=1 conv=notrunc status=none
    rm -rf "$work"
}

# guest_start NAME IMAGE FORMAT [QEMU-ARGUMENT…]: console in $demo/NAME.console, monitor at $demo/NAME.qmp, guest agent at
# $demo/NAME.qga; guest_pid.
guest_start() {
    local name=$1 image=$2 format=$3; shift 3
    rm -f "$demo/$name.qmp" "$demo/$name.qga"
    : > "$demo/$name.console"
    qemu-system-x86_64 -accel tcg -m 192 -nodefaults -no-user-config -display none -no-reboot \
        -serial "file:$demo/$name.console" -qmp "unix:$demo/$name.qmp,server=on,wait=off" \
        -blockdev "driver=$format,node-name=$name-disk,file.driver=file,file.filename=$image,discard=unmap" \
        -device "virtio-blk-pci,drive=$name-disk,id=vd0" \
        -device virtio-serial-pci -chardev "socket,path=$demo/$name.qga,server=on,wait=off,id=qga" \
        -device virtserialport,chardev=qga,name=org.qemu.guest_agent.0 "$@" 2>>"$demo/$name.log" &
    guest_pid=$!
    demo_pids+=($guest_pid)
}
guest_kill() { kill -9 "$1" 2>/dev/null; wait "$1" 2>/dev/null || true; }

# guest_line NAME: the last line that the guest was promised.
guest_line() { local n; n=$(grep -a -o '^LINE [0-9]* ' "$demo/$1.console" | tail -n 1 | tr -dc 0-9); echo "${n:-0}"; }
guest_has_line() { [ "$(guest_line "$1")" -ge "$2" ]; }
# guest_wrote NAME COUNT: waits until it has written that many lines more.
guest_wrote() { wait_for 300 "the guest $1 to write $2 lines more" guest_has_line "$1" $(($(guest_line "$1") + $2)); }
# guest_found NAME: what a guest said of the log that it found.
guest_found() { grep -a -o 'FOUND last=[0-9]*' "$demo/$1.console" | tr -dc 0-9; }
guest_said_found() { [ -n "$(guest_found "$1")" ]; }

# Files that were synced are what was written. File n was if line n + 2 is there: that one came after the sync of n + 1.
guest_check_files() {
    local file number seen=0
    rm -rf "$demo/files"
    debugfs -R "rdump /files $demo" "$1" >/dev/null 2>&1
    for file in "$demo"/files/*; do
        number=${file##*/}
        [ "$number" != '*' ] && [ "$number" -le $((guest_lines - 2)) ] || continue
        cmp -s <(yes "$number" | head -c $(((number % 40 + 1) * 4096))) "$file" ||
            { echo "file $number is not what was written"; return 1; }
        seen=$((seen + 1))
    done
    [ $seen -gt 0 ] || [ "$guest_lines" -le 7 ] || { echo "there are no files"; return 1; }
}

# guest_check_image IMAGE LEAST: the file system is whole after its journal was replayed, and the log has no gap and at
# least LEAST lines. Leaves their number in guest_lines.
guest_check_image() {
    local root=$demo/root status=0
    rm -f "$root"  # A copy of the partition: e2fsck cannot open one again at an offset.
    dd if="$1" of="$root" bs=1M skip=$guest_root_mib conv=sparse status=none || return 1
    guest_needs_recovery=no
    ! dumpe2fs -h "$root" 2>/dev/null | says needs_recovery || guest_needs_recovery=yes
    e2fsck -fp "$root" >"$demo/fsck.log" 2>&1 || status=$?
    [ $status -le 1 ] || { echo "e2fsck says $status:"; cat "$demo/fsck.log"; return 1; }
    debugfs -R 'cat /log' "$root" 2>/dev/null > "$demo/log"
    guest_lines=$(wc -l < "$demo/log")
    seq -f 'line %.0f' "$guest_lines" | cmp -s - "$demo/log" || { echo "the log has a gap:"; tail -n 3 "$demo/log"; return 1; }
    guest_check_files "$root" || return 1
    [ "$guest_lines" -ge "$2" ] || { echo "the log ends at $guest_lines; $2 was promised"; return 1; }
}

# --- protecting it ---

# guest_site: a server, and a port that stays when it is started again.
guest_site() {
    demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
    causeway --config "$demo/causeway.toml" vault create >/dev/null
    demo_start_server
    sed -i "s/^listen = .*/listen = \"127.0.0.1:$demo_port\"/" "$demo/causeway.toml"
    : > "$demo/noted"
}
guest_protect() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --machine-name demo-machine --qmp "$demo/vm.qmp" "$@" \
        2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
agent_json() { causeway-agent status --state "$demo/agent" --json 2>/dev/null || true; }
# Every disk began a new history, however often the agent had to try.
guest_compared_again() {
    local generations
    generations=$(agent_json | grep -o '"generation": *[0-9]*' | tr -dc '0-9\n')
    [ -n "$generations" ] && ! grep -qx 1 <<<"$generations"
}
guest_protected() {
    local phases
    phases=$(agent_json | grep -o '"phase": *"[^"]*"') && ! grep -qv '"protected"' <<<"$phases"
}

# What points cost the machine, as the agent says: how many, and the longest pause of its writers.
guest_pauses() {
    agent_json | python3 -c 'import json, sys
told = json.load(sys.stdin)["pauses"]
print("of %d the longest took %d µs, given up %d" % (told["points"], told["longest_us"], told["given_up"]))' || true
}
# guest_paused_at_most POINTS MICROSECONDS: so many points at least, none with a longer pause.
guest_paused_at_most() {
    agent_json | python3 -c 'import json, sys
told = json.load(sys.stdin)["pauses"]
least, most = map(int, sys.argv[1:])
sys.exit(not (told["points"] >= least and 0 <= told["last_us"] <= told["longest_us"] <= most and told["over_limit"] == 0))' "$1" "$2"
}

# guest_point TAG: a point that must hold at least what the guest was promised before it was asked for.
guest_point() {
    local promised
    promised=$(guest_line vm)
    causeway-agent point --state "$demo/agent" --tag "$1" --wait committed --timeout 300s >>"$demo/points.log" 2>&1 || return 1
    echo "$1 $promised" >> "$demo/noted"
}
guest_points() {
    causeway --config "$demo/causeway.toml" --json points "$demo_machine" 2>>"$demo/cli.log" |
        python3 -c 'import json, sys
for point in json.load(sys.stdin): print(point["tag"] or "-", point["id"], point["kind"])' || true
}
# guest_restore POINT DISK FILE
guest_restore() {
    rm -f "$3"
    causeway --config "$demo/causeway.toml" export "$demo_machine" --point "$1" --disk "$2" --output "$3" >>"$demo/cli.log" 2>&1
}
# guest_check_points DISKS: every point that was noted is in the vault and right; with two disks they are of one moment:
# the second is never ahead of the first, and at most one line behind.
guest_check_points() {
    local tag promised id second count=0
    guest_points > "$demo/in-vault"
    while read -r tag promised; do
        id=$(awk -v tag="$tag" '$1 == tag { print $2 }' "$demo/in-vault")
        [ -n "$id" ] || { echo "point $tag is not in the vault"; return 1; }
        guest_restore "$id" vd0 "$demo/restored" || { echo "point $tag cannot be restored"; return 1; }
        guest_check_image "$demo/restored" "$promised" || { echo "(point $tag)"; return 1; }
        if [ "$1" = 2 ]; then
            guest_restore "$id" vd1 "$demo/second" || { echo "point $tag cannot be restored"; return 1; }
            second=$(head -n 1 "$demo/second" | tr -dc 0-9)
            [ "$guest_lines" -ge "${second:-0}" ] && [ "$guest_lines" -le $((${second:-0} + 1)) ] ||
                { echo "point $tag: the first disk is at $guest_lines, the second at $second"; return 1; }
        fi
        count=$((count + 1))
    done < "$demo/noted"
    echo "$count points restored: file systems whole, logs without a gap"
}
# guest_boots POINT LEAST: what is restored boots, and finds the log with at least LEAST lines.
guest_boots() {
    local found pid
    causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$1" --output-dir "$demo" --force >>"$demo/cli.log" 2>&1 || return 1
    guest_start failover "$demo/vd0.img" raw
    pid=$guest_pid
    wait_for 300 "the restored machine to boot" guest_said_found failover
    found=$(guest_found failover)
    guest_kill "$pid"
    echo "the restored machine boots and finds line $found; promised was $2"
    [ "$found" -ge "$2" ]
}
