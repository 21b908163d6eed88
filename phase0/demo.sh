#!/usr/bin/env bash
# Shows the whole pipeline at work: metrics go in, a query finds them, an alert fires and resolves.
# Ends with 0 only if both were really seen. Needs cargo and curl; touches nothing outside a temporary directory.
set -euo pipefail

wait_s_max=10
port_tries=20
# Long enough for more evaluations while the alert fires.
repeat_s=2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/phase0-demo.XXXXXX")
pid=

main() {
    choose_colours
    title "Phase 0: ingest → queue → storage → query → alert"
    build
    start
    send_metrics
    ask
    see_an_alert
    title "Seen: samples from the socket to the file, from the file to an answer, from an answer to an alert."
}

choose_colours() {
    if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
        bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
    else
        bold='' dim='' red='' green='' plain=''
    fi
}

build() {
    say "Building it (the first time takes a little)."
    cargo build --quiet --manifest-path "$here/Cargo.toml" -p phase0
    # Only cargo knows where it builds to.
    local target
    target=$(cargo metadata --manifest-path "$here/Cargo.toml" --no-deps --offline --format-version 1 |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    phase0=$target/debug/phase0
}

# Some port that nobody has: it tries until phase0 itself says that it listens.
start() {
    local try
    for ((try = 0; try < port_tries; try++)); do
        port=$((20000 + RANDOM % 10000))
        "$phase0" "$port" "$work/samples.jsonl" 1 >"$work/out" 2>"$work/err" &
        pid=$!
        if wait_until listens_or_died && listens; then
            url=http://127.0.0.1:$port
            say "Started: phase0 $port samples.jsonl 1 — alerts are evaluated every second."
            return
        fi
        stop
    done
    die "phase0 did not start: $(cat "$work/err")"
}

send_metrics() {
    title "1. Metrics go in"
    local value
    for value in 41.5 47 52.25; do
        post "{\"name\":\"cpu_usage\",\"value\":$value,\"labels\":{\"core\":\"0\"}}"
    done
    post '[{"name":"mem_free","value":2048},{"name":"disk_free","value":512.5}]'
    wait_until stored 5 || die "five samples were accepted, but are not in the file"
    say "One line of JSON for each sample, in the file:"
    show <"$work/samples.jsonl"
}

ask() {
    title "2. A query finds them"
    run curl -sS --fail --get "$url/query" --data-urlencode 'name=cpu_usage{core="0"}'
    grep -q '"52.25"' "$work/shown" || die "the query did not find the last value, 52.25"
}

see_an_alert() {
    title "3. An alert fires, and resolves"
    say "The one rule it has: HighCpu, when cpu_usage > 90."
    ! told FIRING || die "it fired although cpu_usage never passed 90"
    post '{"name":"cpu_usage","value":97.5,"labels":{"core":"0"}}'
    wait_until told FIRING || die "cpu_usage is 97.5, but no alert fired within $wait_s_max s"
    alert "$red" FIRING
    sleep "$repeat_s"
    ! told RESOLVED || die "it resolved although cpu_usage is 97.5"
    post '{"name":"cpu_usage","value":12,"labels":{"core":"0"}}'
    wait_until told RESOLVED || die "cpu_usage is 12, but the alert did not resolve within $wait_s_max s"
    alert "$green" RESOLVED
    local times
    times=$(grep -c ' FIRING ' "$work/out")
    [ "$times" -eq 1 ] || say "FIRING was told $times times: at every evaluation. Exercise 5 mends that."
}

post() {
    run curl -sS --fail "$url/metrics" -d "$1"
}

# Prints a command, so that it can be copied, and what it answers.
run() {
    local word words=
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_/.:-]+$ ]] || word="'$word'"
        words+=" $word"
    done
    printf '%s$%s%s\n' "$dim" "$words" "$plain"
    "$@" >"$work/shown" || die "the command above failed"
    show <"$work/shown"
}

alert() {
    printf '  %s%s%s\n' "$1" "$(grep -m 1 "$2" "$work/out")" "$plain"
}

told() { grep -q " $1 " "$work/out"; }
stored() { [ "$(wc -l <"$work/samples.jsonl")" -eq "$1" ]; }
listens() { grep -q 'listens on' "$work/out"; }
listens_or_died() { listens || ! kill -0 "$pid" 2>/dev/null; }

wait_until() {
    local deadline=$((SECONDS + wait_s_max))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
show() { while IFS= read -r line || [ -n "$line" ]; do printf '  %s\n' "$line"; done; }
die() {
    printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2
    exit 1
}

stop() {
    [ -n "$pid" ] || return 0
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
}

trap 'stop; rm -rf "$work"' EXIT
main
