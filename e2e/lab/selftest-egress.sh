# shellcheck shell=bash disable=SC2153
# Self-test: which address the internet sees, from every pool, and how that changes with the NATs.

check_egress() {
  local line nat4 nat6 since
  since=$(now_ms)
  for line in "${NODES[@]}"; do
    node_fields "${line%% *}"
    read -r nat4 nat6 < <(value_of "$cell" "${CELLS[@]}")
    check "pod on $node leaves from its cell's IPv4 address" "$nat4" body "on-$node" "$ECHO4/"
    check "pod on $node leaves from its cell's IPv6 address" "$nat6" body "on-$node" "$ECHO6/"
    check "pod on $node, by name" "$nat4 $nat6" by_name "on-$node"
  done
  check "the node itself leaves from there too" "200 OK $NAT4.30" inside batch-1 "$RUN/bin/lab-tool" fetch "$ECHO4/"
  check "a source without a cell gets nowhere (IPv4)" ".*deadline exceeded.*" from_nowhere "$ECHO4/"
  check "a source without a cell gets nowhere (IPv6)" ".*deadline exceeded.*" from_nowhere "$ECHO6/"
  check "the echo log has exactly these 21 requests" "21 requests, 4 IPv4 and 4 IPv6 sources" logged_sources "$since"
}

by_name() {
  body "$1" -4 http://echo.example.test/
  body "$1" -6 http://echo.example.test/
}

from_nowhere() { inside control "$RUN/bin/lab-tool" fetch --timeout 1s "$1"; }

logged_sources() { # SINCE
  echo_command log --since "$1" >"$RUN/selftest.jsonl"
  echo "$(grep -c '"method":"GET"' "$RUN/selftest.jsonl") requests," \
    "$(grep -o '"ipv4","source":"[^"]*' "$RUN/selftest.jsonl" | sort -u | wc -l) IPv4 and" \
    "$(grep -o '"ipv6","source":"[^"]*' "$RUN/selftest.jsonl" | sort -u | wc -l) IPv6 sources"
}

check_nat() {
  local family url many4="$NAT4.110 $NAT4.111 $NAT4.112" many6="$NAT6::110 $NAT6::111 $NAT6::112"
  check "nat CELL prints the router's addresses" "$NAT4.10 $NAT6::10" nat edge-a
  # shellcheck disable=SC2086 # several addresses
  nat edge-a $many4 $many6
  check "nat CELL prints several addresses" "$many4 $many6" nat edge-a
  check "three IPv4 addresses serve in turn" "4 $NAT4.110 4 $NAT4.111 4 $NAT4.112" tally "$ECHO4/"
  check "three IPv6 addresses serve in turn" "4 $NAT6::110 4 $NAT6::111 4 $NAT6::112" tally "$ECHO6/"
  nat edge-a "$NAT4.110-$NAT4.112" "$NAT6::110-$NAT6::112"
  check "nat CELL prints a range" "$NAT4.110-$NAT4.112 $NAT6::110-$NAT6::112" nat edge-a
  check "a range serves from within itself" "12 $NAT4.11[012]" tally "$ECHO4/"
  check "the other cells are not touched" "$NAT4.20 $NAT6::20" by_name on-edge-b1
  nat edge-a "$NAT6::10"
  check "no IPv4 address, no IPv4 egress" ".*deadline exceeded.*" body on-edge-a1 "$ECHO4/"
  check "and IPv6 goes on" "$NAT6::10" body on-edge-a1 "$ECHO6/"
  check "a name with both families falls to IPv6" "$NAT6::10" body on-edge-a1 --timeout 9s http://echo.example.test/
  nat edge-a reset
  for url in "$ECHO4/" "$ECHO6/"; do
    family=IPv4 && [[ $url == *\[* ]] && family=IPv6
    check "$family: new connections take the new address at once, none fails" "old then new, 0 failed" change "$url"
    check "$family: a kept connection keeps its address" "old, 0 failed" change "$url" --keep
  done
}

tally() { # URL
  in_pod on-edge-a1 loop --count 12 --gap 0 "$1" | bodies | sort | uniq -c
}

bodies() { sed -n 's/.*"body":"\([^"\\]*\).*/\1/p'; }

# change URL [--keep]: requests all the while, the NAT changes after one second.
change() {
  local file=$RUN/selftest.loop loop
  in_pod on-edge-a1 loop --count 40 --gap 50ms "${@:2}" "$1" >"$file" &
  loop=$!
  sleep 1.2
  nat edge-a "$NAT4.119" "$NAT6::119"
  wait "$loop"
  nat edge-a reset
  echo "$(bodies <"$file" | sed 's/.*[.:]119$/new/; s/.*[.:]10$/old/' | uniq | sed ':a;N;$!ba;s/\n/ then /g'), $(
    grep -c '"error":"..*"' "$file" || true
  ) failed"
}
