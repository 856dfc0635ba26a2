# shellcheck shell=bash
# Where the lab keeps things. CACHE survives (binaries, images); RUN is one lab's state, made by up and removed by down.
CACHE=${EGRESSWAY_CACHE:-$HOME/.cache/egressway}/lab
RUN=${EGRESSWAY_LAB:-/var/tmp/egressway-lab}
