#!/usr/bin/env bash
# cargo-deny over licences, bans and sources; installed once into the cache. Advisories need a database from the
# network and are checked where there is one: cargo deny check advisories.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
version=0.20.2
tools=$CACHE_HOME/tools
if ! "$tools/bin/cargo-deny" --version 2>/dev/null | grep -qF $version; then
  cargo install --locked --quiet --root "$tools" --no-default-features --version $version cargo-deny
fi
cd "$ROOT"
"$tools/bin/cargo-deny" check licenses bans sources
