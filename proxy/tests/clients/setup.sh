#!/bin/sh
# Makes a Python environment with the HTTP libraries that tests/clients.rs uses, once, and prints its interpreter.
set -eu
venv=${EGRESSWAY_CLIENTS_VENV:-$HOME/.cache/egressway/clients}
if [ ! -e "$venv/ready" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check requests httpx aiohttp >&2
  touch "$venv/ready"
fi
echo "$venv/bin/python"
