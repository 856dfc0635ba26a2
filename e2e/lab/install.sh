# shellcheck shell=bash
# lab install: the Debian packages that the lab needs, and nothing when they are there. It does not install Go, Python
# or a compiler, and starts no service (policy-rc.d or the absence of an init keeps containerd from running by itself).

PACKAGES=(containerd runc containernetworking-plugins nftables iptables conntrack iproute2 util-linux procps openssl gcc libc6-dev)

missing_packages() {
  local package
  for package in "${PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install() {
  local missing
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt_install "${missing[@]}" || { apt-get -qq update && apt_install "${missing[@]}"; } || die "apt cannot install ${missing[*]}"
}

apt_install() { apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install "$@" >/dev/null; }
