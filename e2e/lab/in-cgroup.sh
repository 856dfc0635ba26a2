#!/usr/bin/env bash
# in-cgroup.sh NAME CMD...: puts itself into the lab's cgroup NAME in every hierarchy and becomes CMD. Membership is
# inherited, so `lab down` finds every process of the lab, whatever became of its parents. It limits nothing.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
. "$(dirname "$(readlink -f "$0")")/lib.sh"
name=$1
shift
for hierarchy in $HIERARCHIES; do
  top=/sys/fs/cgroup/$hierarchy/$GROUP
  mkdir -p "$top/$name"
  if [ "$hierarchy" = cpuset ]; then # a cpuset takes no process before it has been given cpus and memory
    for file in cpuset.cpus cpuset.mems; do
      cat "/sys/fs/cgroup/cpuset/$file" >"$top/$file"
      cat "$top/$file" >"$top/$name/$file"
    done
  fi
  echo $$ >"$top/$name/cgroup.procs"
done
exec "$@"
