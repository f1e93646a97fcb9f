#!/usr/bin/env bash
#
# Takes away what install.sh made: services, programs, sandboxes' containers,
# network rules, kernel settings.  Workspaces, database and settings stay
# unless you say otherwise; Debian packages always stay.
#
#   ./uninstall.sh [--yes] [--images] [--data] [--all]
#
#   --images   also the holdfast/* images and their cache
#   --data     also workspaces, database, logs, settings and the user
#   --all      both
#   --yes      do not ask before data is removed
#
# Must never: touch a container, image, interface or nftables table that is
# not Holdfast's.

set -euo pipefail
export LC_ALL=C

lib=/usr/lib/holdfast
etc=/etc/holdfast
conf=$etc/holdfast.conf
images=no
data=no
yes=no

say() { echo "uninstall: $*"; }
fail() { say "$*" >&2; exit 1; }

for arg; do
    case $arg in
    --images) images=yes ;;
    --data) data=yes ;;
    --all) images=yes data=yes ;;
    --yes|-y) yes=yes ;;
    -h|--help) sed -n '3,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "no option $arg (./uninstall.sh --help)" ;;
    esac
done
[ "$(id -u)" = 0 ] || fail "this needs root: sudo ./uninstall.sh"

setting() {   # setting NAME DEFAULT
    local value
    value=$(sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" "$conf" \
        2>/dev/null | tail -n 1)
    echo "${value:-$2}"
}

data_dir=$(setting data_dir /var/lib/holdfast)
run_dir=$(setting run_dir /run/holdfast)
log_dir=$(setting log_dir /var/log/holdfast)
docker_data_dir=$(setting docker_data_dir /var/lib/holdfast-docker)
socket=$(setting docker_socket /var/run/docker.sock)
stack=$(setting stack "")

# A setting that names a folder of the system itself must not empty it.
for dir in "$data_dir" "$run_dir" "$log_dir" "$docker_data_dir"; do
    case $dir in
    /*/*holdfast*) ;;
    *) fail "$dir has no 'holdfast' in it: remove it yourself" ;;
    esac
done

if [ "$data" = yes ] && [ "$yes" = no ]; then
    [ -t 0 ] || fail "--data removes all workspaces: say --yes, too"
    read -r -p "Remove all workspaces in $data_dir for ever? [y/N] " answer
    case $answer in [yY]*) ;; *) exit 1 ;; esac
fi

docker_answers() {
    [ "$(curl -s --max-time 3 --unix-socket "$socket" \
        http://engine/_ping 2>/dev/null)" = OK ]
}

# The engine's API and not the docker command: it may be another one's.
engine() {   # engine METHOD PATH
    curl -s --max-time 60 --unix-socket "$socket" -X "$1" "http://engine$2"
}

remove_containers() {
    local filter id
    docker_answers || { say "no engine at $socket: containers stay"; return; }
    filter=$(printf '{"label":["holdfast.managed","holdfast.stack=%s"]}' \
        "${stack:-default}" |
        sed 's/"/%22/g; s/{/%7B/g; s/}/%7D/g; s/\[/%5B/g; s/\]/%5D/g')
    for id in $(engine GET "/containers/json?all=1&filters=$filter" |
        grep -o '"Id":"[0-9a-f]\{64\}"' | cut -d'"' -f4); do
        engine DELETE "/containers/$id?force=1&v=1" >/dev/null
        say "container ${id:0:12}"
    done
}

remove_images() {
    local name
    docker_answers || return 0
    for name in $(engine GET /images/json |
        grep -o '"holdfast/[a-z]*:[A-Za-z0-9._-]*"' | tr -d '"'); do
        engine DELETE "/images/$name?force=1" >/dev/null
        say "image $name"
    done
}

remove_image_cache() {
    rm -f /var/cache/holdfast/{base,small}-*.tar.zst
    rm -f /var/cache/holdfast/{base,small}.lock
    rmdir /var/cache/holdfast 2>/dev/null || true
}

stop() {
    if [ -d /run/systemd/system ] &&
        [ -e /etc/systemd/system/holdfast.service ]; then
        systemctl disable -q --now holdfast.service
    fi
    # Does nothing when all has ended; an engine of our own outlives it.
    if [ -x "$lib/holdfastd" ] && [ -e "$conf" ]; then
        "$lib/holdfastd" -c "$conf" stop --engine || true
    fi
    rm -f /etc/systemd/system/holdfast*.service
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
}

# An engine that has ended leaves its data root mounted on itself.
unmount_below() {   # unmount_below DIR: at it, too; deepest first
    awk -v d="$1" '$5 == d || index($5, d "/") == 1 { print $5 }' \
        /proc/self/mountinfo | sort -r | while read -r dir; do
            umount "$dir" || umount -l "$dir"
        done
}

# Interfaces, nftables table, rules in chains of others.
remove_network() {
    [ -x "$lib/holdfastd" ] && [ -e "$conf" ] || return 0
    "$lib/holdfastd" -c "$conf" net-clean ||
        say "some of the network's rules stay: see 'nft list ruleset'" >&2
}

restore_sysctls() {
    rm -f /etc/sysctl.d/60-holdfast.conf
    [ -e "$etc/sysctl.before" ] || return 0
    sysctl -q -p "$etc/sysctl.before" 2>/dev/null || true
    rm -f "$etc/sysctl.before"
}

if [ "$(setting run_docker off)" = on ]; then
    remove_containers           # while our engine still runs
    stop
    find /sys/fs/cgroup -depth -type d \
        \( -name "holdfast$stack" -o -path "*/holdfast$stack/*" \) \
        -exec rmdir {} + 2>/dev/null || true
    unmount_below "$docker_data_dir"
    unmount_below "$run_dir"
    [ "$images" = no ] || rm -rf --one-file-system "$docker_data_dir"
else
    stop
    remove_containers
    [ "$images" = no ] || remove_images
fi
[ "$images" = no ] || remove_image_cache
remove_network
restore_sysctls
rm -rf "$lib" "$run_dir"
rm -f "$etc/holdfast.conf.example"
if [ "$data" = yes ]; then
    # What is still mounted below is a workspace in use: it must not be here.
    if grep -q " $data_dir/" /proc/self/mountinfo; then
        fail "$data_dir has mounts in it; nothing of it was removed"
    fi
    rm -rf --one-file-system "$data_dir" "$log_dir" "$etc"
    rm -f /var/log/holdfast-install.log
    ! getent passwd holdfast >/dev/null || userdel holdfast
else
    say "kept: $data_dir, $conf (--data removes them)"
fi
say "done; Debian packages were left as they are"
