# shellcheck shell=bash
# The NAT gateways: one chain per cell and family in the router. A change is one nft transaction and holds for new
# connections; those that exist keep their address, as with a cloud's NAT gateway.

nat_base() {
  local line family
  for family in ip ip6; do
    echo "table $family nat {"
    for line in "${CELLS[@]}"; do echo "  chain cell-${line%% *} { }"; done
    echo "  chain postrouting { type nat hook postrouting priority srcnat;"
    for line in "${NODES[@]}"; do
      node_fields "${line%% *}"
      if [ "$family" = ip ]; then
        echo "    oifname wan ip saddr { $ip4, $pods4 } jump cell-$cell"
      else
        echo "    oifname wan ip6 saddr { $ip6, $pods6 } jump cell-$cell"
      fi
    done
    # jump, not goto: an empty cell, and a source of no cell, fall through to here
    echo "    oifname wan drop"
    echo "  }"
    echo "}"
  done | inside router nft -f -
  for line in "${CELLS[@]}"; do
    # shellcheck disable=SC2086 # CELL ADDR ADDR
    nat_set $line
  done
}

# nat CELL [ADDR...|reset|none]: set, or print without addresses.
nat() {
  local cell=${1:-} defaults
  [ -n "$cell" ] || die "nat: which cell? one of: $(printf '%s\n' "${CELLS[@]}" | cut -d' ' -f1 | xargs)"
  value_of "$cell" "${CELLS[@]}" >/dev/null || die "nat: no cell $cell"
  read -ra defaults < <(value_of "$cell" "${CELLS[@]}")
  need_up
  shift
  case ${1:-} in
    "") nat_show "$cell" ;;
    none) nat_set "$cell" ;;
    reset) nat_set "$cell" "${defaults[@]}" ;;
    *) nat_set "$cell" "$@" ;;
  esac
}

nat_set() { # CELL ADDR...
  local cell=$1 family address map mine i
  shift
  for address in "$@"; do
    [[ $address =~ ^[0-9a-f.:]+(-[0-9a-f.:]+)?$ ]] || die "nat: $address is not an address or a range"
  done
  for family in ip ip6; do
    mine=()
    for address in "$@"; do
      case $family/$address in
        ip6/*:*) mine+=("$address") ;;
        */*:*) ;;
        ip/*) mine+=("$address") ;;
      esac
    done
    echo "flush chain $family nat cell-$cell"
    if [ ${#mine[@]} -eq 1 ]; then
      echo "add rule $family nat cell-$cell snat to ${mine[0]}"
    elif [ ${#mine[@]} -gt 1 ]; then # in turn, one connection each
      map=
      for i in "${!mine[@]}"; do map+="$i : ${mine[i]}, "; done
      echo "add rule $family nat cell-$cell snat to numgen inc mod ${#mine[@]} map { ${map%, } }"
    fi
  done | inside router nft -f -
}

# What the router does, not what it was once told.
nat_show() { # CELL
  local family
  for family in ip ip6; do
    inside router nft list chain "$family" nat "cell-$1"
  done | awk '/snat/ {
    sub(/.*(snat to|map) /, ""); gsub(/[{},]/, " "); gsub(/[0-9]+ : /, "")
    for (i = 1; i <= NF; i++) print $i
  }'
}
