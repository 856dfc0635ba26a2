# shellcheck shell=bash
# Nodes from outside: start, crash, bring back, run a command in. What a node does inside is node-init.sh.

node_start() { # NODE
  mkdir -p "$RUN/node/$1"
  rm -f "$RUN/died/node-$1"
  setsid "$LAB/in-cgroup.sh" "$1" nsenter --net="$RUN/netns/$1" -- \
    unshare --cgroup --mount --uts --ipc --pid --fork --kill-child --mount-proc --propagation private \
    "$LAB/node-init.sh" "$1" >>"$RUN/log/node-$1.log" 2>&1 </dev/null 9>&- &
  record $! "node-$1"
  disown
}

# A crash: every process of the node dies at once, and its cable is dead. The disk (images, volumes) stays.
node_kill() { # NODE
  stop "node-$1"
  remove_cgroups "$1"
  forget_namespace "$1"
}

node_command() { # exec|kill|start NODE [CMD...]
  local verb=${1:-} name=${2:-}
  need_up
  node_fields "$name" || die "node ${verb:-VERB}: which node? one of: $(node_names | xargs)"
  shift 2
  case $verb in
    exec)
      enter "$name"
      exec "${into[@]}" "$@"
      ;;
    kill)
      process_of "node-$name" >/dev/null || die "$name is not running"
      node_kill "$name"
      ;;
    start)
      process_of "node-$name" >/dev/null && die "$name is running"
      [ ! -e "$RUN/netns/$name" ] || node_kill "$name" # it died by itself
      node_network "$name"
      node_start "$name"
      await "$name's kubelet" 60 inside "$name" "$RUN/bin/lab-tool" fetch http://127.0.0.1:10248/healthz
      ;;
    *) die "node: exec, kill or start?" ;;
  esac
}

# reach FROM HOST:PORT...: FROM is one of the lab's namespaces, or a pod's IPv4 address.
reach() {
  local from=${1:-} line script into
  need_up
  [ $# -ge 2 ] || die "reach: from where, to what?"
  shift
  [ ! -e "$RUN/netns/$from" ] || exec nsenter --net="$RUN/netns/$from" -- "$RUN/bin/lab-tool" reach "$@"
  # shellcheck disable=SC2016 # for the shell in the node
  script='for n in /run/netns/*; do
    ! nsenter --net="$n" ip -brief address show dev eth0 2>/dev/null | grep -qF " $0/" || exec nsenter --net="$n" -- "$@"
  done
  exit 3'
  for line in "${NODES[@]}"; do
    node_fields "${line%% *}"
    [[ $from != "${pods4%.*}".* ]] || enter "$node"
  done
  [ -n "${into:-}" ] || die "reach: $from is nothing that the lab knows"
  exec "${into[@]}" bash -c "$script" "$from" "$RUN/bin/lab-tool" reach "$@"
}

# enter NODE: sets `into`, the prefix that runs a command inside the node.
enter() {
  local outer init
  outer=$(process_of "node-$1") || die "$1 is not running"
  init=$(cat "/proc/$outer/task/$outer/children")
  into=(nsenter -t "${init% }" --mount --uts --ipc --net --pid --cgroup --)
}
