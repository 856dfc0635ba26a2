# shellcheck shell=bash
# lab down: removes everything, also after an `up` that failed half way. lab check-clean: proves it.
# A process is ours if its pid and start time are on record or if it sits in the lab's cgroup; nothing is looked up by
# name. The cache stays. What must outlive RUN (kernel settings as they were before) is in the cache's host directory.

HOST=$CACHE/host
# kubelet insists on some of these for the whole machine; five containerds need more inotify instances
SETTINGS=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys
  kernel.keys.root_maxbytes fs.inotify.max_user_instances)

settings_save() {
  mkdir -p "$HOST"
  [ -e "$HOST/sysctl.saved" ] || settings_now >"$HOST/sysctl.saved"
  sysctl -qw fs.inotify.max_user_instances=4096
}

settings_now() {
  local name
  for name in "${SETTINGS[@]}"; do echo "$name = $(sysctl -n "$name")"; done
}

settings_restore() {
  [ -e "$HOST/sysctl.saved" ] || return 0
  sysctl -qp "$HOST/sysctl.saved"
  mv "$HOST/sysctl.saved" "$HOST/sysctl.restored"
}

lab_pids() { cat /sys/fs/cgroup/*/"$GROUP"/cgroup.procs /sys/fs/cgroup/*/"$GROUP"/*/cgroup.procs 2>/dev/null | sort -un; }

down() {
  lock
  remove
}

remove() {
  local pid start name
  if [ -e "$RUN/processes" ]; then
    while read -r pid start name; do
      ! alive "$pid" "$start" || kill -KILL "$pid" 2>/dev/null || true
    done < <(tac "$RUN/processes")
  fi
  # a node's process 1 takes all of its namespace along; whatever is left of an interrupted start is in the cgroup
  await_gone 10 no_processes || true
  for pid in $(lab_pids); do kill -KILL "$pid" 2>/dev/null || true; done
  await_gone 10 no_processes || die "these processes do not die: $(lab_pids | xargs)"
  remove_cgroups
  if grep -qs " $RUN/netns " /proc/self/mountinfo; then umount --recursive "$RUN/netns"; fi
  settings_restore
  rm -rf "$RUN"
}

no_processes() { [ -z "$(lab_pids)" ]; }

await_gone() { # SECONDS CHECK
  local tries=$(($1 * 20))
  until "$2"; do
    ((tries-- > 0)) || return 1
    sleep 0.05
  done
}

# remove_cgroups [NAME]: of one node, or of the whole lab.
remove_cgroups() {
  local hierarchy top tries
  for hierarchy in $HIERARCHIES; do
    top=/sys/fs/cgroup/$hierarchy/$GROUP${1:+/$1}
    for tries in $(seq 100); do # the kernel lets go of a dead process' cgroup a moment later
      [ -d "$top" ] || break
      find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
    done
  done
}

check_clean() {
  local left
  left=$(leftovers)
  [ -z "$left" ] || { printf 'lab: left over:\n%s\n' "$left" >&2; exit 1; }
  say "clean"
}

leftovers() {
  local pid path name start
  for pid in /proc/[0-9]*; do # in the lab's cgroup, or a client started from its bin
    started "${pid#/proc/}" || continue # a zombie waits for the machine's init, not for us
    name=
    { read -rd '' name <"$pid/cmdline"; } 2>/dev/null || true
    [[ $name == "$RUN"/* ]] || grep -qs "/$GROUP" "$pid/cgroup" || continue
    echo "process ${pid#/proc/} $name"
  done
  awk -v run="$RUN" 'index($5, run "/") == 1 || $5 == run { print "mount", $5 }' /proc/self/mountinfo
  for path in /sys/fs/cgroup/*/"$GROUP"; do [ ! -d "$path" ] || echo "cgroup $path"; done
  [ ! -e "$RUN" ] || echo "directory $RUN"
  [ ! -e "$HOST/sysctl.saved" ] || echo "settings not restored ($HOST/sysctl.saved)"
  [ ! -e "$HOST/sysctl.restored" ] || diff <(settings_now) "$HOST/sysctl.restored" | sed -n 's/^< /setting /p' || true
  network_leftovers
}

# The machine's own namespace was never touched, unless something went wrong.
network_leftovers() {
  ip -brief address | grep -E "10\.(10|96|244|255)\.|fd10:|$NAT4|$NET4|2620:4f:8000" | sed 's/^/address /' || true
  { ip route; ip -6 route; } | grep -E "^(10\.(10|96|244|255)\.|fd10:|$NAT4|$NET4|2620:4f:8000)" | sed 's/^/route /' || true
}
