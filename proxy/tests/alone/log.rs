//! An access log that cannot be written: the traffic goes on, and nobody has to guess what is missing.

use crate::alone::{Alone, LOOPBACK, eventually, policy};
use crate::ask::{connect, get};
use crate::support::status;

#[tokio::test]
async fn a_full_disk_is_said_once_and_every_lost_line_is_counted() {
    let proxy = Alone::start(&policy(LOOPBACK), &["--log-file", "/dev/full"]).await;
    for lost in 1..=3 {
        let (_, head) = connect(proxy.proxy, "other.example:443").await;
        assert_eq!(status(&head), 403, "{head}");
        let counted = format!("egressway_proxy_log_lines_dropped_total {lost}\n");
        eventually(&counted, async || {
            let metrics = get(proxy.admin, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
            metrics.contains(&counted).then_some(())
        })
        .await;
    }
    let said = proxy.process.says("failed to write the access log").await;
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(
        proxy
            .process
            .stderr()
            .matches("failed to write the access log")
            .count(),
        1
    );
}

#[tokio::test]
async fn what_it_starts_with_is_said_in_plain_values() {
    let proxy = Alone::start(&policy(LOOPBACK), &[]).await;
    let said = proxy.process.says("starting").await;
    let line = said.lines().find(|line| line.contains("starting")).unwrap();
    for word in [format!("proxy={}", proxy.proxy), format!("admin={}", proxy.admin)] {
        assert!(line.contains(&word), "{word}: {line}");
    }
    assert!(line.contains(" connections=") && !line.contains('{'), "{line}");
}
