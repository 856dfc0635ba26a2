# shellcheck shell=bash
# Self-test: DNS, observers and the echo servers' other answers.

check_dns() {
  local since
  since=$(now_ms)
  check "default names, through CoreDNS" "$NET4.80 $NET6::80" in_pod on-edge-a1 resolve echo.example.test
  check "the wildcard" "$NET4.81 $NET6::81" in_pod on-edge-a1 resolve anything.example.test
  check "a name with IPv4 only" "$NET4.80" in_pod on-edge-a1 resolve v4.example.test
  check "an unknown name" ".*no such host.*" in_pod on-edge-a1 resolve unknown.test
  check "cluster names" "10\.96\..* fd10:96::.*" in_pod on-edge-a1 resolve web.lab-selftest.svc.cluster.local
  dns set fixed.example.test 203.0.113.7,2001:db8::7 --ttl 0
  check "dns set" "203.0.113.7 2001:db8::7" in_pod on-edge-a1 resolve fixed.example.test
  dns sequence moving.example.test "$NET4.80" 10.96.0.1,fd10:96::1 - --ttl 0
  check "dns sequence, first" "$NET4.80" ask moving.example.test
  check "dns sequence, second" "10.96.0.1" ask moving.example.test
  check "dns sequence, no data" ".*no such host.*" ask moving.example.test
  check "dns sequence, the last repeats" ".*no such host.*" ask moving.example.test
  check "dns sequence counts each type apart" ".*no such host.*" ask moving.example.test -6
  check "and its second" "fd10:96::1" ask moving.example.test -6
  dns clear fixed.example.test
  check "dns clear goes back to the default" "$NET4.81 $NET6::81" in_pod on-edge-a1 resolve fixed.example.test
  check "dns log" '.*"name":"moving.example.test","type":"A",.*"answer":\["10.96.0.1"\].*' dns log --since "$since"
}

ask() { in_pod on-sys-1 resolve --server "$NET4.53" "${2:--4}" "$1"; } # NAME [-6], past every cache

check_observers() {
  check "an honest observer" "$NAT4.30 $NAT6::30" ask_observer one
  check "an honest observer over TLS" "$NAT4.30" body on-batch-1 --insecure "https://$NET4.91/"
  observer two lie 192.31.196.99,2620:4f:8000:2::99
  check "a lying observer" "192.31.196.99 2620:4f:8000:2::99" ask_observer two
  check "its mode is shown" "lie 192.31.196.99,.*" observer two
  observer two lie 192.31.196.99
  check "a lie in one family only" "192.31.196.99 $NAT6::30" ask_observer two
  observer three stop
  check "a stopped observer refuses" ".*connection refused.*" ask_observer three
  observer two honest --tool
  observer three honest
  check "honest again" "$NAT4.30 $NAT6::30 $NAT4.30 $NAT6::30" ask_observer two three
}

ask_observer() { # NAME...
  local name
  for name in "$@"; do
    body on-batch-1 -4 "http://$name.observers.test/"
    body on-batch-1 -6 "http://$name.observers.test/"
  done
}

check_echo_server() {
  local since tls="$RUN/bin/lab-tool fetch --body --ca $RUN/pki/internet-ca.crt" into
  enter sys-1
  # shellcheck disable=SC2086 # a command
  check "TLS with the lab's CA, by name" "$NAT4.1" "${into[@]}" $tls -4 https://echo.example.test/
  # shellcheck disable=SC2086
  check "TLS with the lab's CA, by address" "$NAT6::1" "${into[@]}" $tls "https://[$NET6::80]:8443/"
  check "without the CA it is refused" ".*unknown authority" "${into[@]}" "$RUN/bin/lab-tool" fetch https://echo.example.test/
  since=$(now_ms)
  check "TLS from a pod is logged" "$NAT4.1" body on-sys-1 -4 --insecure https://echo2.example.test:8443/x?y=1
  check "with name and path" '.*"server":"echo2","proto":"tls",.*"sni":"echo2.example.test","method":"GET","path":"/x\?y=1".*' \
    echo_command log --since "$since"
  since=$(now_ms)
  check "a bare connection answers nothing" "" in_pod on-sys-1 connect-raw --half-close --timeout 2s "$NET4.80:80"
  check "and is logged" '.*"source":"192.31.196.1",.*"method":"","path":"".*' echo_command log --since "$since"
  check "POST /echo" "hello" body on-sys-1 --data hello "$ECHO4:8080/echo"
  check "/bytes/N" '.*"body_bytes":3000000,.*' in_pod on-sys-1 fetch --json "$ECHO4/bytes/3000000"
  check "/slow/1" '\.{10}' body on-sys-1 "$ECHO4/slow/1"
  check "/status/503 is an error to fetch" "503 Service Unavailable $NAT4.1 .*exit code 1" in_pod on-sys-1 fetch "$ECHO4/status/503"
  check "/headers" '.*"X-Mark":\["7"\].*' body on-sys-1 --header "X-Mark: 7" "$ECHO4/headers"
  check "X-Source, X-Source-Port, X-Server" ".*X-Server: echo X-Source: $NAT4.1 X-Source-Port: [0-9]+ .*" \
    in_pod on-sys-1 fetch --include "$ECHO4/"
  check "raw bytes" "HTTP/1.1 400 Bad Request.*" in_pod on-sys-1 connect-raw --data 'nonsense\r\n\r\n' "$NET4.80:80"
}
