#!/usr/bin/env bash
# Phase 0's baseline: what the naive pipeline takes, and what it makes one wait for. Every later phase is held
# against this, on the same machine in the same run.
#
# Prediction: the closed loop finds one server busy with one client after the other, so that throughput does not
# grow with clients and the latency is the number of clients times the time of one request. The open loop at half
# of that throughput waits little; nothing accepted is missing in either.
#
# Writes benches/results/phase0-baseline-{closed,open,batch}.json, and HTML reports beside them on request (--html).
set -euo pipefail
cd "$(dirname "$0")/.."
port="${PORT:-18070}"
seconds="${SECONDS_EACH:-8}"
out=benches/results
html="${1:-}"
cargo build --quiet --release -p craft -p load-tester
target="${CARGO_TARGET_DIR:-target}/release"

server=""
start() {
    data="$(mktemp -d)"
    "$target/craft" up --no-agent --listen "127.0.0.1:$port" --data "$data" >/dev/null 2>&1 &
    server=$!
    for _ in $(seq 100); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "the server did not start" >&2
    exit 1
}
stop() {
    if [ -n "$server" ]; then
        kill -INT "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        rm -rf "$data"
        server=""
    fi
}
trap stop EXIT

measure() { # name, then the load
    local name="$1" args=(--json-file "$out/phase0-baseline-$1.json" --verify --verify-timeout 300s --seed 42)
    shift
    if [ "$html" = "--html" ]; then args+=(--html "$out/phase0-baseline-$name.html"); fi
    printf '\n== %s: %s\n' "$name" "$*"
    start
    "$target/load-tester" "$port" --quiet "${args[@]}" "$@"
    stop
}

measure closed -c 50 -d "${seconds}s"
achieved="$(sed -n 's/.*"rate_achieved": *\([0-9]*\).*/\1/p' "$out/phase0-baseline-closed.json" | head -n 1)"
rate=$((achieved / 2))
measure open -c 50 --rate "$rate" -d "${seconds}s"
measure batch -c 10 -d "${seconds}s" --batch 100
