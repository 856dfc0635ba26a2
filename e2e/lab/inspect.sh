# shellcheck shell=bash
# Looking at a lab: status, component logs, the API server's audit log. Changes nothing.

status() {
  local dead line policies
  [ -e "$RUN/ready" ] || die "not up"
  dead=$(the_dead)
  if [ -n "$dead" ]; then
    echo "dead: $(xargs <<<"$dead")"
    return 1
  fi
  kubectl get nodes -o wide
  if ! enforced; then
    echo "network policies: not enforced"
  elif policies=$(enforcer_status 2>&1); then
    echo "network policies: $policies"
  else
    echo "network policies: $policies"
    return 1
  fi
  for line in "${CELLS[@]}"; do echo "NAT ${line%% *}: $(nat_show "${line%% *}" | xargs)"; done
  for line in "${OBSERVERS[@]}"; do echo "observer ${line%% *}: $(cat "$RUN/observer-${line%% *}")"; done
  echo "kubeconfig: $RUN/pki/admin.kubeconfig"
}

# logs [COMPONENT [TAIL-OPTIONS...]]
logs() {
  local file=$RUN/log/${1:-}.log
  if [ -z "${1:-}" ] || [ ! -e "$file" ]; then
    echo "lab: logs of which component?" >&2
    find "$RUN/log" -name '*.log' -printf '%f\n' | sed 's/\.log$//' | sort >&2
    exit 1
  fi
  shift
  tail "${@:---lines=+1}" "$file"
}

# audit [--since MS]: by the time the API server received the request.
audit() {
  local since
  case ${1:-} in
    "") cat "$RUN/log/audit.jsonl" ;;
    --since)
      since=$(TZ=UTC printf '%(%Y-%m-%dT%H:%M:%S)T.%03d' $((${2:?--since wants unix milliseconds} / 1000)) $(($2 % 1000)))
      awk -v since="$since" 'match($0, /"requestReceivedTimestamp":"[^"]*/) && substr($0, RSTART + 28, RLENGTH - 28) >= since' \
        "$RUN/log/audit.jsonl"
      ;;
    *) die "audit: unknown option $1" ;;
  esac
}
