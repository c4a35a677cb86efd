#!/usr/bin/env bash
# Runs all tests with real servers: tests/run.sh [FILTER]
# Runs every fault in every position, and prints the table: tests/run.sh matrix
# Tortures both servers for SOAK_SECONDS (60) each, with the proof: tests/run.sh soak
# Runs a million mixed operations under random faults for each server: tests/run.sh million
#
# As root on Debian it first installs what is missing. The servers of the
# distribution are never started: the tests start private ones of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing_packages() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null ||
        echo postgresql
    PATH="$PATH:/usr/sbin" command -v mariadbd >/dev/null || echo mariadb-server
    PATH="$PATH:/usr/sbin" command -v pgbouncer >/dev/null || echo pgbouncer
    PATH="$PATH:/usr/sbin" command -v haproxy >/dev/null || echo haproxy
    command -v ip >/dev/null || echo iproute2
    command -v openssl >/dev/null || echo openssl
    command -v pkg-config >/dev/null || echo pkg-config
    [ -e /usr/include/openssl/ssl.h ] || echo libssl-dev
}

# Debian starts a service as soon as it is installed, unless this file says no.
forbid_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
}

install_missing() {
    local packages
    mapfile -t packages < <(missing_packages)
    [ "${#packages[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "tests/run.sh: please install: ${packages[*]}" >&2
        return 0
    fi
    echo "tests/run.sh: installing ${packages[*]}"
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq -y --no-install-recommends install "${packages[@]}" >/dev/null
}

install_missing
export REQUIRE_SERVERS=1
features=postgres,mysql,sqlite,native-tls,serde
case "${1-}" in
matrix)
    cargo test -p poolwarden-tests --features "$features" --test matrix -- \
        --include-ignored --nocapture the_whole_matrix
    exit
    ;;
soak)
    for server in postgres mysql; do
        cargo run --release -p poolwarden-benches --features postgres,mysql \
            --example survive -- "$server" "${SOAK_SECONDS:-60}" alone
    done
    exit
    ;;
million)
    NONCE_OPERATIONS=1000000 cargo test -p poolwarden-tests --features "$features" \
        --test servers -- --nocapture nonce::
    exit
    ;;
esac
cargo test --workspace --features "$features" --lib --tests "$@"
cargo test -p poolwarden --features "$features" --doc "$@"
