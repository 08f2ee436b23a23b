//! What the text `host:port` says of where something is.

use core::net::IpAddr;

/// The host of `host:port`, an IPv6 address without its brackets.
pub fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether `host:port` is on this machine.
pub fn is_here(address: &str) -> bool {
    let host = host(address);
    let ip = host.parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}
