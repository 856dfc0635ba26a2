#!/usr/bin/env bash
# cargo-deny over licences, bans and sources; installed once into the cache. Advisories need a database from the
# network and are checked where there is one: cargo deny check advisories.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
version=0.20.2
root=$CACHE_HOME/tools
[ -x "$root/bin/cargo-deny" ] && "$root/bin/cargo-deny" --version | grep -qF $version ||
  cargo install --locked --quiet --root "$root" --no-default-features --version $version cargo-deny
cd "$ROOT" && "$root/bin/cargo-deny" check licenses bans sources
