#!/usr/bin/env bash
# Proves that each exercise's check fails before the exercise is done and passes after it, and that the reference
# solution leaves everything else as good as it was: format, lints, tests.
#
#   phase0/exercises/prove.sh          all of them
#   phase0/exercises/prove.sh 03 07    these
#
# It works on a copy of the tree, so a work tree with an exercise half done is neither needed nor touched.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
copy=$(mktemp -d "${TMPDIR:-/tmp}/phase0-prove.XXXXXX")
trap 'rm -rf "$copy"' EXIT
# One copy and one target directory for all: what did not change is compiled once.
: "${CARGO_TARGET_DIR:=$root/target/prove}"
# `git apply` inside somebody's repository would look for the files there.
export CARGO_TARGET_DIR GIT_CEILING_DIRECTORIES=${copy%/*}
tree=$copy/tree
log=$copy/log

main() {
    copy_tree
    cd "$tree"
    # All at once, since they wait for what does not come.
    cargo test -p phase0 --test exercises -- --ignored "${@/#/exercise_}" >"$copy/before" 2>&1 || true
    passed=0 failed=0
    local patch
    for patch in "$here"/solutions/*.patch; do
        wanted "$(basename "$patch")" "$@" || continue
        if prove "$patch"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            sed 's/^/    /' "$log" | tail -n 60
        fi
    done
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# What git knows, as it stands in the work tree now.
copy_tree() {
    mkdir "$tree"
    cd "$root"
    git ls-files -z --cached |
        while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
        tar --null -T - -cf - | tar -xmf - -C "$tree" # -m: newer than anything that was built before
}

wanted() {
    local name=$1 number
    shift
    [ $# -gt 0 ] || return 0
    for number in "$@"; do
        [ "${name%%-*}" != "$number" ] || return 0
    done
    return 1
}

# Prints one line. Each step says by its own words what it is that did not hold.
prove() {
    local patch=$1 name verdict=
    name=$(basename "$patch" .patch)
    if ! fails_as_it_should "${name%%-*}"; then
        verdict="the check does not fail without the solution"
    elif ! git apply --whitespace=error "$patch" >"$log" 2>&1; then
        verdict="the patch does not apply"
    else
        verdict=$(judge "${name%%-*}")
        git apply --reverse "$patch"
    fi
    if [ -n "$verdict" ]; then
        echo "FAIL $name: $verdict"
        return 1
    fi
    echo "ok   $name"
}

# A test that does not compile is no failing check, nor is one of several that passes.
fails_as_it_should() {
    cp "$copy/before" "$log"
    grep -q "^test exercise_$1_.* FAILED$" "$log" && ! grep -q "^test exercise_$1_.* ok$" "$log"
}

judge() {
    if ! check "$1" || ! grep -q '^test result: ok\. [1-9]' "$log"; then
        echo "the check does not pass with the solution"
    elif ! cargo fmt -p phase0 --check >"$log" 2>&1; then
        echo "cargo fmt would change the solution"
    elif ! cargo clippy --quiet -p phase0 --all-targets -- -D warnings >"$log" 2>&1; then
        echo "clippy complains about the solution"
    elif ! cargo test --quiet -p phase0 >"$log" 2>&1; then
        echo "the solution breaks other tests"
    fi
}

check() {
    cargo test --quiet -p phase0 --test exercises "exercise_$1" -- --ignored >"$log" 2>&1
}

main "$@"
