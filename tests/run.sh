#!/usr/bin/env bash
# Runs all tests with real servers: tests/run.sh [FILTER]
# Lists the slow groups, which run only when named: tests/run.sh help
#
# As root on Debian, it first installs missing packages. The services of the distribution
# are never started: the tests start private servers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The slow groups, which a change need not pass, and how long each takes on 2 cores.
help() {
    cat <<'TABLE'
tests/run.sh [FILTER]        runs all tests, or those whose names contain FILTER; prints
                             how long each group took
tests/run.sh GROUP

GROUP             minutes  what it does
matrix                  3  every fault in every position; prints the table
browser                 2  the status page in headless Chromium, which it installs
soak                    3  runs examples/survive against both servers, SOAK_SECONDS (60) each
million                 8  a million mixed operations under random faults for each server
newer [FILTER]         15  fetches PostgreSQL 17 and 18, MySQL 9, pgbouncer and Odyssey
                           into NEWER_SERVERS (target/newer-servers); runs all tests on them
mutants FILE...            *  changes each FILE of src/ in one place at a time, and lists the
                           changes that no test detects; a minute for each place
examples [FILTER]          10  builds and tests the packages of examples/packages: web servers, Diesel
fuzz [TARGET...]           10  runs each target of tests/fuzz on new inputs for FUZZ_SECONDS
                           (60) each
TABLE
}

missing_packages() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null ||
        echo postgresql
    PATH="$PATH:/usr/sbin" command -v mariadbd >/dev/null || echo mariadb-server
    PATH="$PATH:/usr/sbin" command -v pgbouncer >/dev/null || echo pgbouncer
    PATH="$PATH:/usr/sbin" command -v haproxy >/dev/null || echo haproxy
    PATH="$PATH:/usr/sbin" command -v pgpool >/dev/null || echo pgpool2
    command -v ip >/dev/null || echo iproute2
    [ -e /usr/share/i18n/locales/de_DE ] || echo locales
    command -v promtool >/dev/null || echo prometheus
    command -v openssl >/dev/null || echo openssl
    command -v pkg-config >/dev/null || echo pkg-config
    [ -e /usr/include/openssl/ssl.h ] || echo libssl-dev
    [ "$group" != browser ] || command -v chromium >/dev/null || echo chromium
}

# Debian starts a service as soon as it is installed, unless this script exits with 101.
forbid_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
}

# What Diesel links.
missing_headers() {
    [ -e /usr/include/postgresql/libpq-fe.h ] || echo libpq-dev
    compgen -G '/usr/include/m*/mysql.h' >/dev/null || echo libmariadb-dev
}

# Installs the packages whose names a command prints.
install_missing() {
    local packages
    mapfile -t packages < <("$1")
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

# Runs a command as one group, and records its duration and whether it failed.
#
# The mysql driver loads all certificate authorities of the system for each TLS connection,
# which takes 100 ms of processor time; the tests use their own authorities.
group() {
    local name=$1 began=$SECONDS result=ok
    shift
    SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nowhere "$@" 2>&1 | tee "$output" ||
        SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nowhere passes_alone "$@" || result=FAILED
    groups+=("$(printf '%-10s %5d s  %s' "$name" $((SECONDS - began)) "$result")")
}

# Most tests share 2 cores with 7 others and their servers, and many are about time. If one or two
# tests of a whole run fail, each runs three more times alone: one failure of these, and the
# run has failed. A test that passes is listed as UNSTABLE at the end: either the test
# or the crate has a fault that depends on the load, and somebody has to find it.
# STRICT=1 counts each failure.
passes_alone() {
    local name command=("$@") text failed
    [ "${STRICT-}" != 1 ] || return
    text=$(failed_tests <"$output") || return
    mapfile -t failed <<<"$text"
    [ $((${#unstable[@]} + ${#failed[@]})) -le 2 ] || return
    echo "tests/run.sh: again, alone: ${failed[*]}"
    [[ " $* " == *" -- "* ]] || command+=(--)
    for name in "${failed[@]}"; do
        for _ in 1 2 3; do
            "${command[@]}" --exact --test-threads 1 "$name" || return
        done
        unstable+=("$name")
    done
}

# Prints the tests that failed, from the output of cargo; fails unless they are all that failed.
#
# What a test of a child process prints may be in between. So these are the tests that each
# program lists in front of its last total. There is no total of a program that did not compile;
# of one that died, cargo says how its process ended.
failed_tests() {
    awk '
        /^ +Running / { program++ }
        /^failures:$/ { count = 0; names = "" }
        /^    [^ ]+$/ { count++; names = names $1 "\n" }
        /^test result: FAILED\. .* [0-9]+ failed;/ {
            match($0, /[0-9]+ failed;/)
            is_complete[program] = count == int(substr($0, RSTART))
            list[program] = names
        }
        /^test result: ok\. / { delete list[program] }
        /^  process didn.t exit successfully: / { has_died = 1 }
        END {
            for (program in list) {
                printf "%s", list[program]
                failures++
                is_wrong = is_wrong || !is_complete[program]
            }
            exit !failures || is_wrong || has_died
        }' | sort -u
}

# What the pool reports must not depend on the language of a server's messages: runs the tests
# of that on servers that speak another one. They take no other server.
languages() {
    local language
    for language in de_DE ru_RU; do
        POSTGRES_MESSAGES=$language BANK_SECONDS=2 group "$language" \
            cargo test --workspace --features "$features" --test servers -- \
            retry::postgres transactions:: outcomes::postgres early_end:: bank::postgres
    done
}

# Runs all groups, then fails if any of them failed.
all_tests() {
    local name groups=() unstable=() output
    output=$(mktemp)
    cargo test --workspace --features "$features" --lib --tests --no-run || return
    group unit cargo test --no-fail-fast --workspace --features "$features" --lib "$@"
    for name in it status servers matrix loom leftovers; do
        group "$name" cargo test --no-fail-fast --workspace --features "$features" --test "$name" "$@"
    done
    group doc cargo test -p poolwarden --features "$features" --doc "$@"
    [ "$#" -gt 0 ] || languages
    rm -f "$output"
    printf '%s\n' "${groups[@]}"
    [ "${#unstable[@]}" -eq 0 ] || printf 'UNSTABLE: %s failed once, and passed alone\n' "${unstable[@]}"
    [[ "${groups[*]}" != *FAILED* ]]
}

# Each run uses one of the newer PostgreSQL servers; all use the newer pgbouncer and Odyssey. A failure
# with the first servers must not prevent the run with the second.
newer() {
    local servers="${NEWER_SERVERS:-target/newer-servers}" failed=0
    tests/newer-servers.sh "$servers"
    servers=$(cd "$servers" && pwd)
    export PGBOUNCER_PROGRAMS="$servers/pgbouncer" ODYSSEY_PROGRAMS="$servers/odyssey"
    echo "== PostgreSQL 17, MySQL 9"
    POSTGRES_PROGRAMS="$servers/postgres-17/bin" MYSQL_PROGRAMS="$servers/mysql-9" \
        all_tests "$@" || failed=1
    echo "== PostgreSQL 18"
    POSTGRES_PROGRAMS="$servers/postgres-18/bin" all_tests "$@" || failed=1
    return "$failed"
}

# Installs a subcommand of cargo from the registry, if it is missing.
install_subcommand() {
    command -v "$1" >/dev/null || cargo install --locked "$1"
}

# The unit tests and the tests without a server detect most changes; the drivers are tested
# on real servers.
mutants() {
    local files=() tests=() file
    for file in "$@"; do
        files+=(--file "$file")
        case "$file" in *postgres* | *mysql*) tests=(--cargo-arg=--test=servers) ;; esac
    done
    if [ "${#files[@]}" -eq 0 ]; then
        echo "tests/run.sh mutants: name the files to change" >&2
        return 2
    fi
    install_subcommand cargo-mutants
    # In a copy that is always in the same folder and shares this build directory: the copies
    # that cargo-mutants makes would rebuild everything each time.
    local copy=target/mutants
    rm -rf "$copy"
    mkdir -p "$copy"
    git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$copy"
    [ ! -e Cargo.lock ] || cp -p Cargo.lock "$copy"
    CARGO_TARGET_DIR="$PWD/target" cargo mutants --dir "$copy" --in-place --output target \
        "${tests[@]}" "${files[@]}"
}

# Without a sanitizer: the stable compiler has none, and the parsers contain no unsafe code
# that one would check.
fuzz() {
    local options=(-s none --fuzz-dir tests/fuzz) targets=("$@") target
    install_subcommand cargo-fuzz
    [ "$#" -gt 0 ] || mapfile -t targets < <(cargo fuzz list --fuzz-dir tests/fuzz)
    for target in "${targets[@]}"; do
        echo "== $target"
        cargo fuzz run "${options[@]}" --target-dir target/fuzz "$target" -- \
            -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -print_final_stats=1 \
            -dict=tests/fuzz/tokens.dict
    done
}

# The programs that show the pool in frameworks are a workspace of their own, so that no other
# build compiles what they depend on.
examples() {
    install_missing missing_headers
    local options=(--manifest-path examples/packages/Cargo.toml --target-dir target/examples --workspace)
    # Cargo needs the certificates of the system for what it downloads.
    cargo test "${options[@]}" --no-run
    SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nowhere cargo test "${options[@]}" "$@"
    # The documentation of the feature that only these programs use.
    cargo test -p poolwarden --features rocket,sqlite --doc rocket
}

if [ "${1-}" = help ]; then
    help
    exit
fi
group=${1-}
install_missing missing_packages
export REQUIRE_SERVERS=1
# A test spends most of its time waiting: for a timeout, a server's start or a reply.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-8}"
features=postgres,mysql,sqlite,native-tls,serde,metrics,tracing
case "${1-}" in
newer)
    newer "${@:2}"
    exit
    ;;
mutants)
    mutants "${@:2}"
    exit
    ;;
fuzz)
    fuzz "${@:2}"
    exit
    ;;
examples)
    examples "${@:2}"
    exit
    ;;
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
browser)
    cargo test -p poolwarden-tests --features "$features" --test status -- \
        --ignored --nocapture --test-threads 1 browser::
    exit
    ;;
million)
    NONCE_OPERATIONS=1000000 cargo test -p poolwarden-tests --features "$features" \
        --test servers -- --nocapture reply_sync::
    exit
    ;;
esac
all_tests "$@"
