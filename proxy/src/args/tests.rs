//! What the command line takes and what it refuses.

use super::*;

/// A command line behind the program's name.
fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(["egressway-proxy"].into_iter().chain(line.split_whitespace()))
}

#[test]
fn the_defaults_are_those_of_a_fleet() {
    let args = parse("").unwrap();
    assert!(args.command.is_none());
    let fleet = args.fleet;
    assert_eq!(
        (fleet.listen.port(), fleet.admin.port(), fleet.report.port()),
        (names::PROXY_PORT, names::ADMIN_PORT, names::REPORT_PORT)
    );
    assert_eq!(
        fleet.report_key_file,
        PathBuf::from("/etc/egressway/key/report.key")
    );
    assert_eq!((fleet.drain_delay.as_secs(), fleet.drain.as_secs()), (5, 300));
}

#[test]
fn alone_it_listens_on_this_machine_and_waits_for_nobody() {
    let fleet = parse("--policy p.yaml").unwrap().fleet;
    let on = |port| SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
    assert_eq!(
        (fleet.listen, fleet.admin),
        (on(names::PROXY_PORT), on(names::ADMIN_PORT))
    );
    assert_eq!((fleet.drain_delay.as_secs(), fleet.drain.as_secs()), (0, 30));
}

#[test]
fn what_means_nothing_is_refused() {
    for line in [
        "observer",
        "observer --listen [::]:80 --tls-cert c",
        "--drain 5",
        "--secrets-dir s",
        "forward --proxy http://p:1",
        "forward --proxy http://u:p@p:1 --token-file t",
        "forward --proxy p:1 --token-file t",
        "forward --proxy socks5://p:1 --token-file t",
        "forward --proxy http://p:1/x --token-file t",
        "forward --proxy http://p --token-file t --password-file p",
        "forward --proxy http://p --token-file t --user a:b",
        "--policy p --acl-dir d",
        "--policy p --report [::]:1",
        "--policy p --report-key-file k",
        "--insecure-allow localhost",
        "--resolver dns.example",
        "--admin [::]:1 observer --listen [::]:80",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn the_observer_listens_on_every_address_given() {
    let args = parse("observer --listen 0.0.0.0:80 --listen [::1]:80").unwrap();
    let Some(Command::Observer(observer)) = args.command else {
        unreachable!()
    };
    assert_eq!(observer.listen.len(), 2);
}
