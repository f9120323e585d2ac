#!/usr/bin/env bash
# Leaves .venv/bin/otel-ebpf, ready to run. Does only what is not done yet; --test adds what the tests need.
#   PYTHON=...       the interpreter to make .venv with (default: python3)
#   PROFILE=dev      builds the native core without optimisation, in a tenth of the time
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

with_tests=
[ "${1:-}" != --test ] || with_tests=yes
profile=${PROFILE:-release}
msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' src/native/Cargo.toml)

# ---- a Debian with the packages of apt.txt ----
[ "$(uname -s)" = Linux ] || die "BPF is Linux's: nothing to set up on $(uname -s)"
command -v apt-get >/dev/null || die \
    "this set-up knows Debian's packages only (bookworm or newer), and there is no apt-get here" \
    "install clang, llvm, gcc, make, pkg-config, libelf and zlib headers, Python 3.11 or newer with venv," \
    "and Rust $msrv or newer; then: pip install ."

lists=(scripts/apt.txt)
if [ -n "$with_tests" ]; then
    mapfile -t -O 1 lists < <(find tests -name apt.txt | sort)
fi
mapfile -t wanted < <(packages "${lists[@]}")
apt_install "${wanted[@]}"
if [ -n "$with_tests" ] && ! command -v npm >/dev/null; then
    apt_install npm # which other packages of Node.js than Debian's bring along, and conflict with
fi

# ---- Rust: what is on the PATH if new enough, else Debian's ----
cargo_version() { "${1:-cargo}" --version 2>/dev/null | cut -d ' ' -f 2; }
if ! at_least "$(cargo_version)" "$msrv"; then
    if ! at_least "$(cargo_version /usr/bin/cargo)" "$msrv"; then
        # bookworm's cargo is too old and its cargo-web is not; from trixie on cargo itself will do.
        rust=(cargo rustc)
        at_least "$(apt-cache policy cargo | sed -n 's/ *Candidate: //p')" "$msrv" || rust=(cargo-web rustc-web)
        apt_install "${rust[@]}"
    fi
    export PATH="/usr/bin:$PATH"
    at_least "$(cargo_version)" "$msrv" || die "Rust $msrv or newer is needed, and apt had none" \
        "have $(cargo_version /usr/bin/cargo); \`apt-get update\`, or install a newer one"
fi
if [ -n "$with_tests" ]; then
    if dpkg -S "$(command -v cargo)" 2>/dev/null | grep -q '^cargo-web:'; then
        apt_install rustfmt-web rust-web-clippy
    elif [ "$(command -v cargo)" = /usr/bin/cargo ]; then
        apt_install rustfmt rust-clippy
    fi
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 ||
            die "cargo has no $tool, which the tests run" "with rustup: rustup component add rustfmt clippy"
    done
fi

# ---- a virtual environment with what pyproject.toml asks for, at the versions of requirements.lock ----
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
if ! "$venv/bin/python" -c "$new_enough" 2>/dev/null || [ ! -x "$venv/bin/pip" ]; then
    python=${PYTHON:-python3}
    "$python" -c "$new_enough" 2>/dev/null || python=/usr/bin/python3
    "$python" -c "$new_enough" || die "Python 3.11 or newer is needed; $python is $("$python" --version 2>&1)" \
        "Debian has it from bookworm on; with another one: make setup PYTHON=/path/to/python3"
    rm -rf "$venv"
    quietly "virtual environment (.venv, $("$python" --version))" "$python" -m venv "$venv"
fi

requirements() { "$venv/bin/python" scripts/requirements.py "$@"; }
groups=(build)
[ -z "$with_tests" ] || groups+=(test)
for group in "${groups[@]}"; do
    wants="$(requirements "$group") $(sha256sum <requirements.lock)"
    unchanged "$group" "$wants" && continue
    mapfile -t specs < <(requirements "$group")
    quietly "Python packages ($group)" "$venv/bin/pip" install -q --prefer-binary -c requirements.lock "${specs[@]}"
    done_with "$group" "$wants"
done

# ---- the native core and its BPF objects, installed so that edits of src/otel_ebpf count at once ----
sources=$({
    find bpf src/native -path src/native/target -prune -o -type f -print0
    printf '%s\0' pyproject.toml
} | sort -z | xargs -0 sha256sum | sha256sum)
if ! unchanged native "$profile $sources" || ! [ -e src/otel_ebpf/_native.abi3.so ] || ! [ -x "$venv/bin/otel-ebpf" ]; then
    quietly "native core and BPF objects (cargo, profile $profile; minutes the first time)" \
        env VIRTUAL_ENV="$venv" "$venv/bin/maturin" develop --profile "$profile"
    done_with native "$profile $sources"
fi

# Under sudo the work tree is somebody's: what was made here is theirs.
owner=$(stat -c %u .)
if did_something && [ "$(id -u)" -eq 0 ] && [ "$owner" -ne 0 ]; then
    find .venv src/native/target src/otel_ebpf -user root -exec chown -h --reference=. {} +
fi
say "ready: .venv/bin/otel-ebpf"
