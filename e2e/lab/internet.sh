# shellcheck shell=bash
# The internet outside the cluster: echo servers and DNS in one process, six observers in processes of their own,
# so that each can stop or lie. All of them are witnesses: what they log is what tests believe.

TLS_FILES=() # certificate and key of everything that serves TLS out there

internet_start() {
  local item arguments=()
  TLS_FILES=(--cert "$RUN/pki/internet.crt" --key "$RUN/pki/internet.key")
  for item in "${ECHOS[@]}"; do arguments+=(--echo "${item/ /=}"); done
  for item in "${RECORDS[@]}"; do arguments+=(--record "$item"); done
  spawn internet inet "$RUN/bin/lab-tool" internet --log-dir "$RUN/log" --dns "$DNS_SERVER" "${TLS_FILES[@]}" "${arguments[@]}"
  for item in "${OBSERVERS[@]}"; do observer_start "${item%% *}" honest; done
}

internet_ready() {
  local item
  at_internet fetch http://127.0.0.1:9053/ready || return 1
  for item in "${OBSERVERS[@]}"; do observer_answers "${item%% *}" || return 1; done
}

# --- observers

# observer NAME [honest [--tool]|stop|lie ADDR[,ADDR]]
observer() {
  local name=${1:-} mode=${2:-}
  if [ "$name" = log ]; then
    since_filter "$RUN/log/observers.jsonl" "${@:2}"
    return
  fi
  value_of "$name" "${OBSERVERS[@]}" >/dev/null || die "observer: no observer '$name' (one to six; or log)"
  need_up
  [ -n "$mode" ] || { cat "$RUN/observer-$name"; return; }
  case $mode in honest | stop) ;; lie) [ -n "${3:-}" ] || die "observer: lie with which address?" ;; *) die "observer: honest, stop or lie?" ;; esac
  observer_stop "$name"
  [ "$mode" = stop ] || { observer_start "$name" "${@:2}"; await "observer $name" 10 observer_answers "$name"; }
  echo "${*:2}" >"$RUN/observer-$name"
}

observer_stop() {
  local part
  for part in http4 http6 tls; do stop "observer-$1-$part"; done
}

# observer_start NAME honest [--tool] | NAME lie ADDRS: plain HTTP is served by the product's own observer where its
# binary is known, since that is what teams will host; TLS and lies are always the tool's.
observer_start() {
  local name=$1 mode=$2 option=${3:-} addresses four six product=$RUN/bin/egressway-proxy lie=()
  addresses=$(value_of "$name" "${OBSERVERS[@]}")
  four=${addresses%,*} six=${addresses#*,}
  TLS_FILES=(--cert "$RUN/pki/internet.crt" --key "$RUN/pki/internet.key")
  if [ "$mode" = lie ]; then lie=(--lie "$option"); fi
  set -- "$RUN/bin/lab-tool" observer --name "$name" --log "$RUN/log/observers.jsonl" "${lie[@]}"
  spawn "observer-$name-tls" inet "$@" "${TLS_FILES[@]}" --tls "$four:443" --tls "[$six]:443"
  if [ "$mode" = honest ] && [ "$option" != --tool ] && [ -x "$product" ]; then
    spawn "observer-$name-http4" inet "$product" observer --listen "$four:80"
    spawn "observer-$name-http6" inet "$product" observer --listen "[$six]:80"
  else
    spawn "observer-$name-http4" inet "$@" --http "$four:80"
    spawn "observer-$name-http6" inet "$@" --http "[$six]:80"
  fi
  echo "${mode}${option:+ $option}" >"$RUN/observer-$name"
}

observer_answers() { # NAME
  local addresses
  addresses=$(value_of "$1" "${OBSERVERS[@]}")
  at_internet fetch "http://${addresses%,*}/" && at_internet fetch "http://[${addresses#*,}]/" &&
    at_internet fetch --insecure "https://${addresses%,*}/"
}

# --- echo and DNS

echo_command() { # log [--since MS] | mark
  case ${1:-} in
    log) since_filter "$RUN/log/echo.jsonl" "${@:2}" ;;
    mark) now_ms ;;
    *) die "echo: log or mark?" ;;
  esac
}

# dns set|sequence NAME SET... | clear [NAME] | log, with --ttl N anywhere
dns() {
  local ttl=5 arguments=() query="" set verb name
  if [ "${1:-}" = log ]; then
    since_filter "$RUN/log/dns.jsonl" "${@:2}"
    return
  fi
  need_up
  while [ $# -gt 0 ]; do
    if [ "$1" = --ttl ]; then ttl=${2:?dns: --ttl wants a number}; shift 2; else arguments+=("$1"); shift; fi
  done
  verb=${arguments[0]:-} name=${arguments[1]:-}
  case $verb in
    set | sequence)
      [ ${#arguments[@]} -ge 3 ] || die "dns $verb: wants NAME and addresses"
      [ "$verb" = sequence ] || [ ${#arguments[@]} -eq 3 ] || die "dns set: one comma separated set (or: dns sequence)"
      for set in "${arguments[@]:2}"; do query+="&set=$set"; done
      at_internet fetch --body --method POST "http://127.0.0.1:9053/set?name=$name&ttl=$ttl$query"
      ;;
    clear) at_internet fetch --body --method POST "http://127.0.0.1:9053/clear${name:+?name=$name}" ;;
    *) die "dns: set, sequence, clear or log?" ;;
  esac
}

# since_filter FILE [--since MS]: the lines not older than that; time_ms is every line's first field.
since_filter() {
  local file=$1
  case ${2:-} in
    "") cat "$file" ;;
    --since) awk -F'[:,]' -v since="${3:?--since wants unix milliseconds}" '$2 + 0 >= since + 0' "$file" ;;
    *) die "unknown option $2" ;;
  esac
}
