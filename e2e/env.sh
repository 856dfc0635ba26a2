# shellcheck shell=bash disable=SC2034
# What the scripts beside this file share: where things are, and how they say what they do. It starts nothing.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE_HOME=${EGRESSWAY_CACHE:-$HOME/.cache/egressway}
# Outside of the checkout, so that a fresh clone on the same machine is warm.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE_HOME/target}
LAB=$ROOT/e2e/lab/lab
# The lab's own kubectl and helm, for those who need a path and not a command.
export KUBECTL=${EGRESSWAY_LAB:-/var/tmp/egressway-lab}/bin/kubectl
export HELM=$CACHE_HOME/lab/helm
# When the first of these scripts began; those that it starts count from there too.
export EGRESSWAY_STARTED=${EGRESSWAY_STARTED:-$EPOCHSECONDS}

elapsed() { printf '[%4d s]' $((EPOCHSECONDS - EGRESSWAY_STARTED)); }

# step NAME: says how long the one before took, and begins the next.
step() {
  took
  printf '\n==> %s %s\n' "$(elapsed)" "$*"
  step=$* step_began=$EPOCHSECONDS
}

# took: says how long the step took, if one goes on.
took() {
  [ -z "${step:-}" ] || printf '    %s %s: %d s\n' "$(elapsed)" "${step%%:*}" $((EPOCHSECONDS - step_began))
  step=
}

# signs_of_life PID LOG: until the process ends, its last words every 20 s.
signs_of_life() {
  while kill -0 "$1" 2>/dev/null; do
    for _ in {1..40}; do kill -0 "$1" 2>/dev/null || break; sleep 0.5; done
    ! kill -0 "$1" 2>/dev/null || printf '    %s %s\n' "$(elapsed)" "$(tail -n 1 "$2" | tr -d '\r' | cut -c1-100)"
  done
}

# quietly LOG COMMAND...: a long step with signs of life; its output only when it fails.
quietly() {
  local log=$1 pid
  shift
  "$@" >"$log" 2>&1 &
  pid=$!
  signs_of_life $pid "$log"
  wait "$pid" || { tail -n 60 "$log"; echo "failed: $*"; return 1; }
}

# need COMMAND PACKAGE: installs the Debian package where the command is missing; fails where it cannot.
need() {
  command -v "$1" >/dev/null && return 0
  echo "installing $2" >&2
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$2"; } >&2
}
