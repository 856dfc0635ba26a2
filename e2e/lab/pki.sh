# shellcheck shell=bash
# Every key, certificate and kubeconfig of one lab (EC P-256, made anew by each `lab up` in well under a second).
# Nothing here is a secret worth keeping: it dies with the lab.

API_NAMES=IP:$CONTROL4,IP:$CONTROL6,IP:10.96.0.1,IP:fd10:96::1,IP:127.0.0.1,DNS:localhost
API_NAMES+=,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local

pki() ( # in a directory of its own
  local name line
  mkdir -p "$RUN/pki"
  cd "$RUN/pki" || exit
  # openssl's own configuration would add CA extensions of its choice
  printf '[req]\ndistinguished_name = dn\n[dn]\n' >openssl.cnf
  authority ca & authority front-proxy-ca & authority internet-ca &
  openssl genrsa -out sa.key 2048 2>/dev/null &
  wait
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null

  certificate apiserver /CN=kube-apiserver serverAuth ca "$API_NAMES" &
  certificate apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth ca &
  certificate front-proxy-client /CN=front-proxy-client clientAuth front-proxy-ca &
  certificate admin /O=system:masters/CN=admin clientAuth ca &
  for name in kube-controller-manager kube-scheduler kube-proxy; do
    certificate "$name" "/CN=system:$name" clientAuth ca &
  done
  for line in "${NODES[@]}"; do
    node_fields "${line%% *}"
    certificate "$node" "/O=system:nodes/CN=system:node:$node" serverAuth,clientAuth ca "IP:$ip4,IP:$ip6,DNS:$node" &
    kubeconfig_file "$node" "https://$CONTROL4:6443"
  done
  certificate internet /CN=internet serverAuth internet-ca "DNS:*.example.test,DNS:*.observers.test,$(internet_addresses)" &
  for name in kube-controller-manager kube-scheduler kube-proxy; do
    kubeconfig_file "$name" "https://$CONTROL4:6443"
  done
  kubeconfig_file admin "https://$FORWARDER"
  wait
  # `wait` hides failures; a certificate that is not there must not
  for name in apiserver front-proxy-client admin internet; do [ -s "$name.crt" ] || die "openssl did not make $name.crt"; done
)

internet_addresses() {
  local line all=
  for line in "${ECHOS[@]}" "${OBSERVERS[@]}"; do all+=${line#* },; done
  sed 's/,$//; s/^/IP:/; s/,/,IP:/g' <<<"$all"
}

new() { # NAME OPENSSL-OPTIONS...
  openssl req -x509 -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -keyout "$1.key" -out "$1.crt" "${@:2}" 2>"$1.err" || cat "$1.err" >&2
  rm -f "$1.err"
}

authority() { # NAME
  new "$1" -subj "/CN=egressway lab $1" -addext basicConstraints=critical,CA:TRUE \
    -addext keyUsage=critical,keyCertSign,cRLSign -addext subjectKeyIdentifier=hash
}

certificate() { # NAME SUBJECT USAGE AUTHORITY [ALTERNATIVE-NAMES]
  new "$1" -subj "$2" -CA "$4.crt" -CAkey "$4.key" -addext basicConstraints=critical,CA:FALSE \
    -addext keyUsage=critical,digitalSignature -addext "extendedKeyUsage=$3" -addext authorityKeyIdentifier=keyid \
    ${5:+-addext "subjectAltName=$5"}
}

kubeconfig_file() { # NAME SERVER
  cat >"$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "$2", certificate-authority: "$RUN/pki/ca.crt"}}]
users: [{name: $1, user: {client-certificate: "$RUN/pki/$1.crt", client-key: "$RUN/pki/$1.key"}}]
contexts: [{name: lab, context: {cluster: lab, user: $1}}]
current-context: lab
END
  chmod 600 "$1.kubeconfig"
}
