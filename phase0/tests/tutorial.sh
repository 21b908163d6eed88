#!/usr/bin/env bash
# Runs every command of TUTORIAL.md, in order, and checks that they show what the tutorial says.
#
#   ```sh            runs in terminal 2
#   ```sh server     stops what runs in terminal 1 and starts this there
#   … stopped        the learner has stopped the server before
#   … strace         left out where there is no strace that may trace
#   … fails          may end with an error, since the server is killed under it
#   <!-- shows: REGEX -->           the last block's output has this
#   <!-- server shows: REGEX -->    terminal 1 has this since its last start
#   <!-- server hides: REGEX -->    terminal 1 has it not, by now
#
# With -v, what each block printed is shown.
# Port 8080 and target/tutorial stand for a free port and a temporary directory. Takes a while.
set -euo pipefail

wait_s_max=20

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tutorial=$here/TUTORIAL.md
work=$(mktemp -d "${TMPDIR:-/tmp}/phase0-tutorial.XXXXXX")
port=$((20000 + RANDOM % 10000))
server=
ran=0
verbose=${1:-}
trap 'stop; rm -rf "$work"' EXIT

main() {
    cd "$here/.."
    mkfifo "$work/pipe"
    : >"$work/out" >"$work/server"
    local line number=0 kind= block= begun=0
    while IFS= read -r line <&9; do
        number=$((number + 1))
        case $line in
        '```sh'*) kind=${line#'```'} block= begun=$number ;;
        '```'*) if [ -n "$kind" ]; then run "$kind" "$begun" "$block"; fi; kind= ;;
        '<!-- shows: '*) expect "$number" "$work/out" "$line" ;;
        '<!-- server shows: '*) expect "$number" "$work/server" "$line" ;;
        '<!-- server hides: '*) expect_not "$number" "$work/server" "$line" ;;
        *) if [ -n "$kind" ]; then block+=$line$'\n'; fi ;;
        esac
    done 9<"$tutorial"
    echo "$ran blocks ran"
    [ "$ran" -gt 0 ]
}

run() {
    local kind=" $1 " line=$2 text=$3
    skipped=
    if [[ $kind == *' strace '* ]] && ! may_trace; then
        skipped=yes
        echo "line $line: skipped, since there is no strace that may trace"
        return
    fi
    text=${text//8080/$port}
    text=${text//target\/tutorial/$work\/files}
    text=${text//cd ..\/../cd /}
    echo "line $line: ${text%%$'\n'*}"
    [[ $kind != *' stopped '* ]] || stop
    if [[ $kind == *' server '* ]]; then
        start "$text" || fail "$line" "$work/server" "the server did not start"
    else
        here_and_now "$text" >"$work/out" 2>&1 ||
            [[ $kind == *' fails '* ]] || fail "$line" "$work/out" "this block failed"
        [ "$verbose" != -v ] || sed 's/^/    /' "$work/out"
    fi
    ran=$((ran + 1))
}

# In this very shell, since later blocks need its directory and its variables. Inside an `||`, bash would not stop at
# the first command that fails, so each line that fails is remembered by a trap.
here_and_now() {
    local wrong=0
    trap 'wrong=1' ERR
    set -E
    eval "$1"
    set +E
    trap - ERR
    return "$wrong"
}

# As in a terminal: a process group of its own, which Ctrl-C reaches as a whole, and no file as its output, since
# one block allows no file to grow. The reader ends with the last writer.
start() {
    stop
    cat "$work/pipe" >"$work/server" &
    set -m
    bash -c "$1" >"$work/pipe" 2>&1 </dev/null &
    server=$!
    set +m
    wait_until grep -q 'listens on' "$work/server"
}

stop() {
    [ -n "$server" ] || return 0
    kill -INT -- "-$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}

expect() {
    local line=$1 file=$2 regex=$3
    [ -z "$skipped" ] || return 0
    regex=${regex#*shows: }
    regex=${regex% -->}
    wait_until grep -qE -e "$regex" "$file" || fail "$line" "$file" "expected: $regex"
}

expect_not() {
    local line=$1 file=$2 regex=$3
    regex=${regex#*hides: }
    regex=${regex% -->}
    ! grep -qE -e "$regex" "$file" || fail "$line" "$file" "not expected: $regex"
}

wait_until() {
    local deadline=$((SECONDS + wait_s_max))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

may_trace() { strace -f -o /dev/null true 2>/dev/null; }

fail() {
    echo "TUTORIAL.md, line $1: $3; observed:"
    sed 's/^/    /' "$2"
    exit 1
}

main
