//! Metadata services of clouds: what hands credentials of the machine to whoever asks from it.
//!
//! Most clouds use one of two addresses that whole ranges of [`super`] cover already: 169.254.169.254 (AWS, Azure, Google
//! Cloud, Oracle, IBM, Alibaba, Tencent, Huawei, Yandex, OVH, Akamai, DigitalOcean, Hetzner, Vultr, UpCloud, Exoscale,
//! Equinix, OpenStack) and fe80::a9fe:a9fe (OpenStack Neutron), both link-local. Link-local as well: 169.254.169.252 (GKE),
//! 169.254.170.2 and .23 (AWS ECS, EKS Pod Identity), 169.254.169.253 and .123 (AWS DNS and time), 169.254.42.42
//! (Scaleway), 169.254.0.23 and 169.254.10.10 (Tencent). Here stands what lies elsewhere. CloudStack asks the virtual
//! router of its network, at no fixed address: where that matters, `operator.neverCIDRs` names it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Class::{self, Never};

pub(super) const V4: &[(Ipv4Addr, u8, Class)] = &[
    // Alibaba Cloud, "Instance metadata" of ECS. In shared address space.
    (
        Ipv4Addr::new(100, 100, 100, 200),
        32,
        Never("cloud metadata (Alibaba)"),
    ),
    // Microsoft, "What is IP address 168.63.129.16?": WireServer, goal state and extension settings. A public address.
    (
        Ipv4Addr::new(168, 63, 129, 16),
        32,
        Never("cloud metadata (Azure WireServer)"),
    ),
    // Oracle Cloud Infrastructure Classic, "Retrieving Instance Metadata".
    (
        Ipv4Addr::new(192, 0, 0, 192),
        32,
        Never("cloud metadata (Oracle Classic)"),
    ),
];

pub(super) const V6: &[(Ipv6Addr, u8, Class)] = &[
    // Amazon EC2 User Guide: metadata ::254, DNS ::253, time ::123; EKS User Guide: Pod Identity ::23. The block is the
    // provider's own.
    (
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0),
        32,
        Never("cloud metadata (AWS)"),
    ),
    // Google Compute Engine, "Access VM metadata": of instances with IPv6 alone.
    (
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        128,
        Never("cloud metadata (GCP)"),
    ),
    // Oracle's SDKs, signer of instance principals.
    (
        Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
        128,
        Never("cloud metadata (Oracle)"),
    ),
    // cloud-init, data source Aliyun.
    (
        Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200),
        128,
        Never("cloud metadata (Alibaba)"),
    ),
    // cloud-init, data source Scaleway.
    (
        Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
        128,
        Never("cloud metadata (Scaleway)"),
    ),
    // cloud-init, data source Akamai: ::1. Others that took over 169.254.169.254 in this spelling use ::254.
    (
        Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 0),
        48,
        Never("cloud metadata (Akamai)"),
    ),
];
