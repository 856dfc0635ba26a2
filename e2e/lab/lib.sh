# shellcheck shell=bash
# What every part of the lab shares: messages, network namespaces, and processes that are recorded and watched.
# It starts and stops nothing by itself.

GROUP=egressway-lab # name of the lab's cgroup in every hierarchy
HIERARCHIES="cpu cpuacct cpuset memory devices freezer blkio pids systemd unified"
IMAGES=$CACHE/images
REGISTRY=registry.egressway.test

say() { echo "lab: $*" >&2; }
die() { echo "lab: $*" >&2; exit 1; }

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# step NAME: one line of `lab up`, with the seconds since it began.
step() {
  local ms=$((${EPOCHREALTIME/[.,]/} / 1000 - STARTED_MS))
  printf 'lab: %3d.%d s  %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*" >&2
}

# inside NETNS CMD...: run in one of the lab's network namespaces (router, inet, control, or a node's name).
# Not `ip netns exec`, which mounts a /sys without cgroups.
inside() {
  local name=$1
  shift
  nsenter --net="$RUN/netns/$name" -- "$@"
}

# at_internet CMD...: the lab's own Go tool, inside the internet's namespace.
at_internet() { inside inet "$RUN/bin/lab-tool" "$@"; }

# --- processes: "PID STARTTIME NAME" per line, so that a recycled pid is never mistaken for ours

# started PID: sets start, the kernel's start time of a living process. No forks: this is polled.
started() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  stat=${stat##*) } # the command name may hold spaces
  # shellcheck disable=SC2086 # its fields are what is wanted
  set -- $stat
  [ "$1" != Z ] && start=${20}
}

alive() { # PID STARTTIME
  local start
  started "$1" && [ "$start" = "$2" ]
}

record() { # PID NAME
  local start=gone
  started "$1" || true
  echo "$1 $start $2" >>"$RUN/processes"
}

# process_of NAME: the pid of a recorded, living process.
process_of() {
  local pid start name
  while read -r pid start name; do
    [ "$name" = "$1" ] && alive "$pid" "$start" && { echo "$pid"; return 0; }
  done <"$RUN/processes"
  return 1
}

# spawn NAME NETNS CMD...: start in the background, in the lab's cgroup, its output in log/NAME.log.
# NETNS "-" is the machine's own.
spawn() {
  local name=$1 netns=$2
  shift 2
  [ "$netns" = - ] || set -- nsenter --net="$RUN/netns/$netns" -- "$@"
  setsid "$LAB/in-cgroup.sh" machine "$@" >>"$RUN/log/$name.log" 2>&1 </dev/null 9>&- &
  record $! "$name"
  disown # its end is for fail_if_dead to tell, not for bash
}

# stop NAME: end one recorded process and forget it.
stop() {
  local pid start name
  while read -r pid start name; do
    [ "$name" = "$1" ] || continue
    alive "$pid" "$start" && kill -KILL "$pid"
    while alive "$pid" "$start"; do sleep 0.02; done
    sed -i "/^$pid $start /d" "$RUN/processes"
  done < <(cat "$RUN/processes")
}

# the_dead: the names of recorded processes that are gone. A node leaves a note of which of its components ended it.
the_dead() {
  local pid start name
  while read -r pid start name; do
    alive "$pid" "$start" && continue
    if [ -s "$RUN/died/$name" ]; then cat "$RUN/died/$name"; else echo "$name"; fi
  done <"$RUN/processes"
}

# fail_if_dead: name the first dead component, show the end of its log, and exit.
fail_if_dead() {
  local dead
  dead=$(the_dead)
  [ -n "$dead" ] || return 0
  dead=${dead%%$'\n'*}
  echo "lab: $dead died. The end of $RUN/log/$dead.log:" >&2
  tail -n 20 "$RUN/log/$dead.log" | cut -c1-300 | sed 's/^/  | /' >&2
  exit 1
}

# await WHAT SECONDS CMD...: run CMD until it succeeds, but give up at once when any component dies.
# A slow CMD runs in the background meanwhile, so that a death shows while it waits. (A program, not a function around
# one: what is killed then is CMD itself.)
await() {
  local what=$1 seconds=$2 deadline pid
  shift 2
  deadline=$((SECONDS + seconds))
  while :; do
    "$@" >"$RUN/log/await.log" 2>&1 9>&- &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
      (fail_if_dead) || { kill "$pid" 2>/dev/null; exit 1; }
      sleep 0.1
    done
    wait "$pid" && return 0
    if ((SECONDS >= deadline)); then
      cat "$RUN/log/await.log" >&2
      die "waited $seconds s in vain for: $what"
    fi
    sleep 0.05
  done
}

# lock: one `up` or `down` at a time. The lab's processes must not inherit descriptor 9.
lock() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/lock"
  flock -w 300 9 || die "another lab up or down holds $CACHE/lock"
}

# A proxy that the machine uses for downloads must not come between the lab's own parts.
without_proxies() { unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY; }

need_up() { [ -e "$RUN/ready" ] || die "the lab is not up (lab up)"; }

# --- clients; their caches stay out of the user's home

export KUBECONFIG=$RUN/pki/admin.kubeconfig KUBECACHEDIR=$RUN/cache/kubectl
export HELM_CACHE_HOME=$RUN/cache/helm HELM_CONFIG_HOME=$RUN/cache/helm HELM_DATA_HOME=$RUN/cache/helm

kubectl() { "$RUN/bin/kubectl" "$@"; }
