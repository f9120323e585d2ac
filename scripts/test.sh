#!/usr/bin/env bash
# Every linter, every type checker, every test; ends with pytest's summary. Arguments go to pytest.
# All linters run even if one complains; tests run only after all of them are content.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
export PATH="$venv/bin:$PATH"
native=(--manifest-path src/native/Cargo.toml --locked)

complaints=()
try() {
    say "$*"
    "$@" </dev/null || complaints+=("$*")
}

try ruff check --quiet .
try ruff format --check --quiet .
try mypy
try lint-imports --no-cache --no-logo
try shellcheck -x scripts/*.sh .ci/run
try cargo fmt --manifest-path src/native/Cargo.toml --check
try cargo clippy "${native[@]}" --all-targets --all-features --quiet -- -D warnings
try cargo clippy "${native[@]}" --all-targets --no-default-features --quiet -- -D warnings
if [ ${#complaints[@]} -gt 0 ]; then
    die "not content:" "${complaints[@]}"
fi
[ "${1:-}" != --lint-only ] || exit 0

say "cargo test"
cargo test "${native[@]}" --no-default-features --quiet </dev/null
say "pytest"
exec pytest "$@" </dev/null
