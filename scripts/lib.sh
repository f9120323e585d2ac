# shellcheck shell=bash
# What setup.sh and test.sh share: saying what goes on, running long things with a log, Debian's packages.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
log=$root/.venv/setup.log
started=$SECONDS
worked=

say() { printf '[%3d s] %s\n' $((SECONDS - started)) "$*"; }

die() {
    printf '\nerror: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

# quietly WHAT COMMAND...: runs it with its output in the log, a sign of life every 15 s, and the log's end on failure.
quietly() {
    local what=$1 pid pulse status=0
    shift
    say "$what"
    mkdir -p "$venv"
    [ -w "$venv" ] || die "$what: .venv cannot be written" "another user made it; sudo rm -rf .venv, or be that user"
    worked=yes
    printf '\n==> %s: %s\n' "$what" "$*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    (
        trap 'kill "$nap" 2>/dev/null; exit' TERM
        while sleep 15 & nap=$!; wait "$nap"; do
            say "  ... $(tail -n 1 "$log" | tr '\r' '\n' | tail -n 1 | cut -c 1-100)"
        done
    ) &
    pulse=$!
    wait "$pid" || status=$?
    kill "$pulse" 2>/dev/null || true
    wait "$pulse" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        tail -n 25 "$log" >&2
        die "$what: failed (exit code $status)" "the whole log is $log"
    fi
}

# did_something: whether anything ran quietly.
did_something() { [ -n "$worked" ]; }

# packages FILE...: the names in those lists.
packages() { sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$@" | sort -u; }

# missing NAME...: those that are not installed.
missing() {
    comm -23 <(printf '%s\n' "$@" | sort -u) \
        <(dpkg-query -W -f='${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii //p' | sort -u)
}

# apt_install NAME...: what is missing of them. Services that come along are neither started nor enabled.
apt_install() {
    local want policy=/usr/sbin/policy-rc.d mine='' name unit
    mapfile -t want < <(missing "$@")
    [ ${#want[@]} -gt 0 ] || return 0
    [ "$(id -u)" -eq 0 ] || die "Debian packages are missing, and installing them needs root" \
        "run:  sudo apt-get install --no-install-recommends ${want[*]}" "then: make again"
    if [ ! -e "$policy" ]; then
        mine=$policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    [ -n "${lists_are_new:-}" ] || quietly "apt-get update" apt-get -q -o DPkg::Lock::Timeout=300 update
    lists_are_new=yes
    quietly "apt-get install ${want[*]}" \
        apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 --no-install-recommends --no-remove install "${want[@]}"
    if [ -n "$mine" ]; then
        rm -f "$mine"
        trap - EXIT
    fi
    command -v systemctl >/dev/null || return 0
    for name in "${want[@]}"; do
        for unit in $(dpkg -L "$name" | sed -n 's|.*/systemd/system/\([^@/]*\.service\)$|\1|p'); do
            quietly "leaving $unit off" systemctl disable "$unit"
        done
    done
}

# at_least HAVE WANT: compares versions.
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# unchanged NAME INPUT...: true if `done_with NAME` was said with the same inputs.
unchanged() { [ "$(cat "$venv/.done-$1" 2>/dev/null)" = "${*:2}" ]; }
done_with() { printf '%s\n' "${*:2}" >"$venv/.done-$1"; }
