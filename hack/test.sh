#!/usr/bin/env bash
# Runs every test. What needs root (a real node with a real Istio) runs as root, and is said loudly where
# it does not. Ends with cargo's own results, and fails if they do. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $(id -u) -eq 0 ]]; then
    who='root: everything runs, also on a real node'
else
    who="$(id -un), not root: what needs a real node is skipped; run it with sudo"
fi
printf 'Tests run as %s.\n' "$who"
printf 'The first run builds Kubernetes, Istio and Helm from source, which takes half an hour on two cores; later runs find them in %s.\n' \
    "${MESHLIFT_CACHE:-$HOME/.cache/meshlift}"

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Binaries one after the other, and go on after a failure: one run tells all.
status=0
cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

# Said once more at the end, where it is seen.
if grep --quiet '^SKIPPED' "$log"; then
    printf '\n==== NOT TESTED ====\n'
    grep '^SKIPPED' "$log" | sort -u
    printf '====================\n\n'
fi
grep -E '^(test result|     Running |   Doc-tests |error: )|^test .* FAILED$' "$log" || true
if [[ $status -ne 0 ]]; then
    printf 'FAILED: the tests above\n'
fi
exit "$status"
