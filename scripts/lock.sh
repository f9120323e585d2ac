#!/usr/bin/env bash
# Renews requirements.lock: the newest versions that pyproject.toml allows, tried together in an empty environment.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"${PYTHON:-python3}" -m venv "$fresh"
mapfile -t specs < <("$fresh/bin/python" scripts/requirements.py build; "$fresh/bin/python" scripts/requirements.py test)
quietly "resolving" "$fresh/bin/pip" install -q --prefer-binary "${specs[@]}"
{
    echo "# The versions that the tests run with; \`make lock\` renews them. A constraint, not a requirement."
    "$fresh/bin/pip" freeze --exclude otel-ebpf
} >requirements.lock
say "requirements.lock: $(grep -c == requirements.lock) packages"
