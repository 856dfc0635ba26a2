//! One line for people: what happened first, then why, then the figures. Values from outside cannot break a line: hosts
//! and methods are parsed, and what an operating system says is escaped.

use std::io::{self, Write};

use super::super::Entry;
use super::names::PolicyName;

pub(super) fn append(line: &mut Vec<u8>, entry: &Entry) -> io::Result<()> {
    let decision = match entry.decision {
        "allow" => "ALLOW",
        "deny" => "DENY",
        "report" => "REPORT",
        _ => "ERROR",
    };
    write!(
        line,
        "{:.3} {decision} {}",
        entry.time,
        entry.method.as_deref().unwrap_or("-")
    )?;
    match &entry.target {
        Some(target) => write!(line, " {target}")?,
        None => write!(line, " -")?,
    }
    match entry.status {
        Some(status) => write!(line, " {status}")?,
        None => write!(line, " -")?,
    }
    write!(line, " {}", entry.reason)?;
    if let Some(rule) = &entry.rule {
        write!(line, " rule={rule}")?;
    }
    if let Some(policy) = &entry.policy {
        write!(
            line,
            " policy={} generation={}",
            PolicyName(policy),
            policy.generation()
        )?;
    }
    write!(
        line,
        " client={}:{}",
        bracketed(entry.client.ip().to_canonical()),
        entry.client.port()
    )?;
    if let Some(clients) = entry.client_names() {
        write!(line, " as={clients}")?;
    }
    if let Some(pod) = &entry.client_pod {
        write!(line, " pod={pod}")?;
    }
    if let Some(balancer) = entry.balancer {
        write!(line, " balancer={balancer}")?;
    }
    if let Some(end) = entry.end {
        write!(line, " end={end}")?;
    }
    if let Some(peer) = entry.peer {
        write!(line, " peer={peer}")?;
    }
    if let Some(tls) = entry.tls {
        write!(line, " tls={} resumed={}", tls.version, tls.resumed)?;
    }
    if let Some(scheme) = entry.signature {
        write!(line, " signature={}", scheme.name())?;
    }
    write!(
        line,
        " sent={} received={}",
        entry.bytes_sent, entry.bytes_received
    )?;
    write!(line, " ms={:.3}", entry.duration.as_secs_f64() * 1e3)?;
    if let Some(dns) = entry.dns {
        write!(line, " dns_ms={:.3}", dns.as_secs_f64() * 1e3)?;
    }
    if let Some(connect) = entry.connect {
        write!(line, " connect_ms={:.3}", connect.as_secs_f64() * 1e3)?;
    }
    write!(line, " id={}", entry.id)?;
    match &entry.detail {
        Some(detail) => write!(line, " error={detail:?}"),
        None => Ok(()),
    }
}

fn bracketed(ip: std::net::IpAddr) -> String {
    match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
