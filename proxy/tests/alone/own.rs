//! The machine's own addresses are no destination: in a network namespace, where they can come and go.

use std::fs;
use std::process::Command;

use crate::alone::{policy, text};

/// Prints what the proxy answers for each address, in this order: one of an interface, one of IPv6, one that is added
/// while it runs, one that is given, and then one that is opened, by a second proxy.
const SCRIPT: &str = r#"
trap 'kill $(jobs -p) 2>/dev/null' EXIT
ip link set lo up
ip addr add 9.9.9.1/32 dev lo
ip addr add 9.9.9.4/32 dev lo
ip -6 addr add 2a00::1/128 dev lo nodad
"$1" observer --listen '[::]:8443' &
"$1" --policy policy.yaml --own-address 9.9.9.3 2>log &
"$1" --policy policy.yaml --listen 127.0.0.1:4760 --admin 127.0.0.1:4761 --allow-own-address 9.9.9.4 2>log.2 &
ask() {
  { exec 3<>/dev/tcp/127.0.0.1/"$1"; } 2>/dev/null || return 0
  printf 'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' "$2" >&3
  read -r -t 20 _ status _ <&3 && echo "$status"
  exec 3>&-
}
# Asks until the answer is this one, for at most 20 seconds.
becomes() {
  end=$((SECONDS + 20))
  until [ "$(ask "$1" "$2")" = "$3" ]; do
    [ $SECONDS -lt $end ] || { echo "$1 $2: $(ask "$1" "$2"), not $3"; cat log log.2; exit 1; }
    sleep 0.05
  done
  echo "$1 $2 $3"
}
becomes 4760 9.9.9.4:8443 200
becomes 4750 9.9.9.1:8443 403
becomes 4750 9.9.9.4:8443 403
becomes 4750 '[2a00::1]:8443' 403
becomes 4750 9.9.9.3:8443 403
ip addr add 9.9.9.2/32 dev lo
becomes 4750 9.9.9.2:8443 403
becomes 4760 9.9.9.1:8443 403
"#;

#[test]
fn what_listens_on_this_machine_is_reached_by_none_of_its_addresses_unless_a_flag_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let all = "- {name: all, cidrs: [0.0.0.0/0, '::/0'], ports: [{port: 8443}]}";
    fs::write(dir.path().join("policy.yaml"), policy(all)).unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "bash", "-uc", SCRIPT, "bash"])
        .arg(env!("CARGO_BIN_EXE_egressway-proxy"))
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("4760 9.9.9.1:8443 403"), "{said}");
}
