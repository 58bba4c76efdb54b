#!/usr/bin/env bash
# Runs every test. What needs root (a real node with a real Istio) runs as root, and is reported loudly where
# it does not. Ends with cargo's own results, and fails if they do.
# With arguments it is `cargo test --workspace` with them: one test, one crate.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $(id -u) -eq 0 ]]; then
    who='root: everything runs, also on a real node'
else
    who="$(id -un), not root: what needs a real node is skipped; run it with sudo"
fi
printf 'Tests run as %s.\n' "$who"
printf 'The first run builds Kubernetes and Istio from source, which takes about 30 minutes on two cores; later runs find them in %s.\n' \
    "${MESHLIFT_CACHE:-$HOME/.cache/meshlift}"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
status=0

# What only computes lets those go first that start servers and wait for them.
only_computes() {
    [[ $1 == sim || $1 == properties ]]
}

# Runs `cargo test` once and keeps what it prints; $1 names the log.
run() {
    local log="$logs/$1.log" before=()
    if only_computes "$1"; then before=(nice); fi
    shift
    "${before[@]}" cargo test --locked --workspace --no-fail-fast "$@" >"$log" 2>&1 || return 1
}

# The integration tests of all crates, by name: a new file in a tests/ folder is found by itself.
targets() {
    cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    for target in package["targets"]:
        if "test" in target["kind"]:
            print(target["name"])' | sort -u
}

# How many test programs run side by side. Those on clusters without a node mostly wait; a real node under load, or simulated
# nodes by the hundred, take half of two cores. mesh_upgrade runs two meshes at a time by itself.
CLUSTERS=${MESHLIFT_TEST_JOBS:-4}
NODES=2
has_node() {
    [[ $1 == mesh || $1 == mesh_* || $1 == shop ]]
}

# Those that take longest come first, or at the end all would wait for them.
longest_first() {
    local long=(api_operator api_meshes api_clusters sim api_faults api_manifests mesh_scale) target
    for target in "${long[@]}" "$@"; do
        if [[ " $* " == *" $target "* ]]; then printf '%s\n' "$target"; fi
    done | awk '!seen[$0]++'
}

# Runs the test programs that follow, $1 at a time, and prints each log as a whole.
side_by_side() {
    local limit=$1 target
    shift
    printf '== [%4ds] %s at a time: %s\n' "$((SECONDS - started))" "$limit" "$*"
    for target in "$@"; do
        while [[ $(jobs -pr | wc -l) -ge $limit ]]; do wait -n || true; done
        (
            begun=$SECONDS
            run "$target" --test "$target" || touch "$logs/$target.failed"
            # One log after the other, also where two end at once.
            flock 9
            printf '== %s took %s s\n' "$target" "$((SECONDS - begun))"
            cat "$logs/$target.log"
        ) 9>"$logs/printing" &
    done
    wait
    if compgen -G "$logs/*.failed" >/dev/null; then status=1; fi
}

everything() {
    local target started=$SECONDS
    cargo test --locked --workspace --no-run 2>&1
    printf '== [%4ds] unit and documentation tests\n' "$((SECONDS - started))"
    run units --lib --bins || status=1
    cat "$logs/units.log"
    run docs --doc || status=1
    cat "$logs/docs.log"

    local clusters=() nodes=()
    for target in $(targets); do
        case $target in
        # What all of them need is built once, before the first of them waits for another.
        api) side_by_side 1 api ;;
        mesh_upgrade) ;;
        *) if has_node "$target"; then nodes+=("$target"); else clusters+=("$target"); fi ;;
        esac
    done
    mapfile -t clusters < <(longest_first "${clusters[@]}")
    mapfile -t nodes < <(longest_first "${nodes[@]}")
    side_by_side "$CLUSTERS" "${clusters[@]}"
    side_by_side "$NODES" "${nodes[@]}"
    printf '== [%4ds] mesh_upgrade\n' "$((SECONDS - started))"
    cargo test --locked --workspace --no-fail-fast --test mesh_upgrade 2>&1 |
        tee "$logs/mesh_upgrade.log" || status=1
    printf '== [%4ds] all tests have run\n' "$((SECONDS - started))"
}

if [[ $# -gt 0 ]]; then
    cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$logs/all.log" || status=$?
else
    everything
fi

# Repeated at the end, where it is seen.
cat "$logs"/*.log >"$logs/all"
if grep --quiet '^SKIPPED' "$logs/all"; then
    printf '\n==== NOT TESTED ====\n'
    grep '^SKIPPED' "$logs/all" | sort -u
    printf '====================\n\n'
fi
grep -hE '^(test result|     Running |   Doc-tests |error: )|^test .* FAILED$' "$logs/all" || true
if [[ $status -ne 0 ]]; then
    printf 'FAILED: the tests above\n'
fi
exit "$status"
