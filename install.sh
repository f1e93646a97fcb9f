#!/usr/bin/env bash
#
# Installs Holdfast on a Debian 12 machine, from this folder, as root:
# packages, build, /usr/lib/holdfast, the base image, services, first start.
# Running it again updates what is there and is quick.
#
#   ./install.sh [--yes] [--no-image]
#
#   --yes        do not ask
#   --no-image   do not build the base image (make your own, or run
#                images/build later)
#
#   ./install.sh --packages [NAME...]   only install the Debian packages
#   ./install.sh --stage DIR            only copy what is built to DIR
#
# Owns: /usr/lib/holdfast, /etc/holdfast, /etc/sysctl.d/60-holdfast.conf,
# holdfast*.service, the user holdfast.  Must never: start, stop or configure
# an nginx, Redis or Docker that is not ours; overwrite a settings file.
# uninstall.sh is its reverse.

set -euo pipefail
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${HOLDFAST_BUILD:-$here/build}
lib=/usr/lib/holdfast
etc=/etc/holdfast
conf=$etc/holdfast.conf
log=/var/log/holdfast-install.log
units=/etc/systemd/system
sysctl_file=/etc/sysctl.d/60-holdfast.conf
hint=

# To build it, to run it, to make images. apparmor: where the kernel has it,
# Docker starts nothing without its parser, and only recommends it.
packages=(
    gcc make libc6-dev musl-tools pkg-config nginx-dev libfcgi-dev
    libsqlite3-dev libjson-c-dev libcurl4-openssl-dev libhiredis-dev
    libssl-dev libnftables-dev libarchive-dev
    nginx redis-server docker.io apparmor nftables iproute2 iptables procps
    ca-certificates curl
    mmdebstrap zstd
)

# ---- words ------------------------------------------------------------------

begin=${EPOCHREALTIME/./}
say() {
    local ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    printf '[%4d.%d s] %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*"
}

fail() {   # fail WHAT-HAPPENED [WHAT-TO-DO]
    say "FAILED: $1"
    [ -z "${2-}" ] || echo "           $2"
    exit 1
} >&2

warnings() {   # warnings LINE: those in the log after that line
    tail -n "+$(($1 + 1))" "$log" | sed -n 's/.*\(WARNING: .*\)/           \1/p'
} >&2

step() {   # step TEXT FUNCTION ARGS...: its output goes to the log
    local text=$1 from status=0
    shift
    say "$text"
    echo "=== $text" >>"$log"
    from=$(wc -l <"$log")
    # A child of its own, so that the first failing command ends it.
    set +e
    (set -e; "$@") >>"$log" 2>&1 </dev/null
    status=$?
    set -e
    [ "$status" != 0 ] || { warnings "$from"; return 0; }
    tail -n "+$((from + 1))" "$log" | tail -n 12 | sed 's/^/           | /' >&2
    fail "$text" "${hint:-The lines above are the end of $log.}"
}

# ---- packages ---------------------------------------------------------------

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# What is missing of the names given. An engine of another make will do.
missing_packages() {
    local name
    for name; do
        case $name in
        docker.io) ! command -v dockerd >/dev/null || continue ;;
        nginx) ! [ -x /usr/sbin/nginx ] || continue ;;
        redis-server) ! command -v redis-server >/dev/null || continue ;;
        esac
        installed "$name" || echo "$name"
    done
}

# A package that brings a service starts it while it is installed. These three
# would take port 80, port 6379 and the machine's firewall, so for as long as
# apt runs nothing may be started, and what is new is not started at boot.
guard=/usr/sbin/policy-rc.d
guard_on() {
    [ ! -e "$guard" ] || mv "$guard" "$guard.before-holdfast"
    cat >"$guard" <<'END'
#!/bin/sh
# Made by install.sh of Holdfast while apt runs.
exit 101
END
    chmod 755 "$guard"
}
guard_off() {
    rm -f "$guard"
    [ ! -e "$guard.before-holdfast" ] || mv "$guard.before-holdfast" "$guard"
}

apt() {
    # Nothing that is there is changed or taken away.
    apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
        install -y -q --no-install-recommends --no-upgrade --no-remove "$@"
}

install_packages() {
    local new=("$@") name
    trap guard_off EXIT
    guard_on
    # Old lists name versions that mirrors no longer have.
    apt "${new[@]}" || { apt-get -q update; apt "${new[@]}"; }
    [ -d /run/systemd/system ] || return 0
    for name in "${new[@]}"; do
        case $name in
        nginx) systemctl disable -q nginx.service ;;
        redis-server) systemctl disable -q redis-server.service ;;
        docker.io)
            systemctl disable -q docker.service docker.socket
            systemctl disable -q containerd.service ;;
        esac
    done
}

need_packages() {
    local new
    mapfile -t new < <(missing_packages "${packages[@]}" "$@")
    [ ${#new[@]} -gt 0 ] || return 0
    [ ! -e "$guard.before-holdfast" ] || guard_off   # from a killed run
    hint="Does 'apt-get update' work?  See $log."
    step "packages: ${new[*]}" install_packages "${new[@]}"
    hint=
}

# ---- files ------------------------------------------------------------------

# One layout for installations and tests. Programs are replaced, not written
# over: a running one keeps its old file.
stage() {   # stage DIR
    local dir=$1 file
    mkdir -p "$dir"
    for file in holdfastd guest ngx_http_holdfast_module.so; do
        [ -e "$build/$file" ] || fail "$build/$file is missing" "make"
        install -m 755 "$build/$file" "$dir/.new"
        mv "$dir/.new" "$dir/$file"
    done
    # Plain files, readable by all; what is gone here goes there, too.
    for file in lua-free-config redis images; do
        rm -rf "${dir:?}/$file"
        [ ! -d "$here/$file" ] || cp -R --no-preserve=ownership \
            "$here/$file" "$dir/$file"
    done
    rm -rf "$dir/images/guest"
    [ ! -e "$here/nginx.conf" ] ||
        install -m 644 "$here/nginx.conf" "$dir/nginx.conf"
    install -m 755 "$here/uninstall.sh" "$dir/uninstall.sh"
}

compile() { make -C "$here" -j"$(nproc)" all; }

# ---- settings ---------------------------------------------------------------

setting() {   # setting NAME DEFAULT: its value in the settings file
    local value
    value=$(sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" "$conf" |
        tail -n 1)
    echo "${value:-$2}"
}

docker_answers() {   # docker_answers SOCKET
    [ "$(curl -s --max-time 3 --unix-socket "$1" http://engine/_ping)" = OK ]
}

# Sandboxes' uids must be nobody else's: the kernel counts per uid.
free_uid_base() {
    cat /etc/passwd /etc/group /etc/subuid /etc/subgid 2>/dev/null | awk -F: '
        NF == 3 { from[n] = $2; to[n++] = $2 + $3 - 1; next }   # sub[ug]id
                { from[n] = $3; to[n++] = $3 }
        END {
            for (base = 2000000; base < 3000000000; base += 1000000) {
                ok = 1
                for (i = 0; i < n; i++)
                    if (from[i] < base + 1000000 && to[i] >= base) ok = 0
                if (ok) { printf "%d\n", base; exit }
            }
        }'
}

write_settings() {
    [ ! -e "$conf" ] || return 0
    mkdir -p "$etc"
    {
        echo "# Settings of Holdfast: NAME=value lines. What is not here has"
        echo "# its default; $etc/holdfast.conf.example lists them all."
        echo
        echo "uid_base=$(free_uid_base)"
        if ! docker_answers /var/run/docker.sock; then
            echo "# No Docker Engine answered when this was installed."
            echo "run_docker=on"
            echo "docker_socket=/run/holdfast/docker.sock"
        fi
    } >"$conf.new"
    chmod 600 "$conf.new"
    mv "$conf.new" "$conf"
}

settle() {
    getent passwd holdfast >/dev/null ||
        useradd --system --user-group --no-create-home \
            --home-dir /nonexistent --shell /usr/sbin/nologin holdfast
    write_settings
    "$lib/holdfastd" settings --example >"$etc/holdfast.conf.example"
    "$lib/holdfastd" -c "$conf" check

    raise_limits
}

# Dev servers watch many files. Nothing is lowered; what was there before is
# kept for uninstall.sh. Where the kernel is not ours, readiness warns.
raise_limits() {
    local name want before value
    [ -e "$etc/sysctl.before" ] || sysctl \
        fs.inotify.max_user_instances fs.inotify.max_user_watches \
        fs.epoll.max_user_watches >"$etc/sysctl.before"
    echo "# Made by install.sh of Holdfast." >"$sysctl_file"
    while read -r name want; do
        before=$(sed -n "s/^$name = //p" "$etc/sysctl.before")
        value=$((want > before ? want : before))
        echo "$name = $value" >>"$sysctl_file"
        sysctl -q -w "$name=$value" || true
    done <<END
fs.inotify.max_user_instances 1024
fs.inotify.max_user_watches 1048576
fs.epoll.max_user_watches 4194304
END
}

# ---- services ---------------------------------------------------------------

systemd() { [ -d /run/systemd/system ]; }

running() { "$lib/holdfastd" -c "$conf" status >/dev/null 2>&1; }

port_is_free() {   # port_is_free SETTING DEFAULT
    local address holder
    address=$(setting "$1" "$2")
    holder=$(ss -Hltnp "sport = :${address##*:}" | head -n 1)
    [ -z "$holder" ] ||
        fail "port ${address##*:} is taken: ${holder##*users:}" \
        "Choose another $1 in $conf, then run this again."
}

start() {
    local unit
    if systemd; then
        for unit in "$lib"/lua-free-config/systemd/*.service; do
            install -m 644 "$unit" "$units/${unit##*/}"
        done
        systemctl daemon-reload
        systemctl enable -q holdfast.service
        systemctl restart holdfast.service
    else
        "$lib/holdfastd" -c "$conf" stop || true
        "$lib/holdfastd" -c "$conf" start
    fi
}

wait_ready() {
    local end=$((SECONDS + 60)) answer=
    until [ "${answer##*$'\n'}" = 200 ]; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "$answer"
            tail -n 20 "$(setting log_dir /var/log/holdfast)"/*.log
            return 1
        fi
        sleep 0.1
        answer=$(curl -s --max-time 5 -w '\n%{http_code}' \
            "http://$api/readyz") || true
    done
}

build_image() {
    local socket
    socket=$(setting docker_socket /var/run/docker.sock)
    DOCKER_HOST=unix://$socket "$lib/images/build"
}

# ---- main -------------------------------------------------------------------

image=yes
yes=no
case ${1-} in
--packages)
    shift
    log=${HOLDFAST_LOG:-/dev/stderr}
    [ "$(id -u)" = 0 ] || fail "packages need root"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    need_packages "$@"
    exit 0 ;;
--stage)
    [ $# -eq 2 ] || fail "--stage needs a folder"
    stage "$2"
    exit 0 ;;
esac
for arg; do
    case $arg in
    --yes|-y) yes=yes ;;
    --no-image) image=no ;;
    -h|--help) sed -n '3,22s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "no option $arg" "./install.sh --help" ;;
    esac
done

[ "$(id -u)" = 0 ] || fail "this needs root" "sudo ./install.sh"
command -v dpkg >/dev/null || fail "this is not a Debian system"
# shellcheck source=/dev/null
case $(. /etc/os-release; echo "$ID $VERSION_ID") in
"debian 12") ;;
*) say "this is not Debian 12; it may work" ;;
esac
if [ "$yes" = no ] && [ -t 0 ] && [ ! -e "$conf" ]; then
    cat <<END
Holdfast will be installed on this machine:
  Debian packages   $(missing_packages "${packages[@]}" | paste -sd' ')
  programs          $lib
  settings          $conf
  data              /var/lib/holdfast
  user              holdfast
./uninstall.sh takes all but the packages away.
END
    read -r -p "Go on? [Y/n] " answer
    case $answer in ''|[yY]*) ;; *) exit 1 ;; esac
fi
: >>"$log"
echo "##### $(date -u +%FT%TZ) $0 $*" >>"$log"

need_packages
step "build" compile
step "programs to $lib" stage "$lib"
hint="Correct $conf, then run this again."
step "settings, user, limits" settle
hint=
if ! running; then
    port_is_free api_listen 127.0.0.1:7070
    port_is_free preview_listen 127.0.0.1:7080
    port_is_free metrics_listen 127.0.0.1:7071
fi
api=$(setting api_listen 127.0.0.1:7070)
preview=$(setting preview_listen 127.0.0.1:7080)
domain=$(setting domain localhost)
hint="See $(setting log_dir /var/log/holdfast) and http://$api/readyz."
step "start" start
step "wait until it is ready" wait_ready
if [ "$image" = yes ]; then
    hint="Run $lib/images/build again; --no-image leaves it out."
    step "base image (minutes the first time)" build_image
fi

say "done"
cat <<END

  API        http://$api      try: curl http://$api/v1/info
  Previews   http://s-<id>-<port>.preview.$domain:${preview##*:}/
  Settings   $conf
  Remove     $lib/uninstall.sh

  A first sandbox, and its page:
    curl -s http://$api/v1/sandboxes -H 'Content-Type: application/json' \\
      -d '{"id":"hello","ports":[3000],"services":[{"name":"web","port":3000,
           "cmd":["python3","-m","http.server","3000"]}]}'
    curl -s http://s-hello-3000.preview.$domain:${preview##*:}/
END
