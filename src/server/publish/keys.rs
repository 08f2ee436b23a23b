//! The primary of a cluster as keys and values, in the manner of orchestrator's.

use std::net::IpAddr;

use crate::model::ClusterName;
use crate::state::PublishedPrimary;

/// What is published of one cluster, by key, in order: under `PREFIX/CLUSTER` the address `host:port`, below it its parts.
/// `ipv4` and `ipv6` are there only if the host is such a number: names are for their readers to look up.
pub fn keys(
    prefix: &str,
    group: &str,
    cluster: &ClusterName,
    primary: &PublishedPrimary,
) -> Vec<(String, String)> {
    let host = &primary.address.host;
    let number = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(number)) => Some(("/ipv4", number.to_string())),
        Ok(IpAddr::V6(number)) => Some(("/ipv6", number.to_string())),
        Err(_) => None,
    };
    let port = primary.address.port;
    let address = match &number {
        Some(("/ipv6", number)) => format!("[{number}]:{port}"),
        Some(_) | None => format!("{host}:{port}"),
    };
    let parts = [
        ("", address),
        ("/epoch", primary.epoch.to_string()),
        ("/group", group.to_owned()),
        ("/hostname", host.clone()),
        ("/instance", primary.instance.to_string()),
    ];
    let parts = parts.into_iter().chain(number);
    let parts = parts.chain([("/port", port.to_string())]);
    parts
        .map(|(part, value)| (format!("{prefix}/{cluster}{part}"), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Epoch, InstanceId, Timeline};

    #[test]
    fn a_number_is_told_as_what_it_is() {
        let keys = |host: &str| {
            let primary = PublishedPrimary {
                instance: InstanceId::new("b").unwrap(),
                address: Address {
                    host: host.to_owned(),
                    port: 5432,
                },
                epoch: Epoch(8),
                timeline: Timeline(8),
                since: 0,
            };
            let name = ClusterName::new("main").unwrap();
            let keys = keys("pg/primary", "g", &name, &primary);
            let text = |(key, value): (String, String)| {
                format!("{}={value}", key.strip_prefix("pg/primary/main").unwrap())
            };
            keys.into_iter().map(text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            keys("10.0.0.2"),
            "=10.0.0.2:5432 /epoch=8 /group=g /hostname=10.0.0.2 /instance=b /ipv4=10.0.0.2 /port=5432"
        );
        assert_eq!(
            keys("db2.example"),
            "=db2.example:5432 /epoch=8 /group=g /hostname=db2.example /instance=b /port=5432"
        );
        assert_eq!(
            keys("fe80::1"),
            "=[fe80::1]:5432 /epoch=8 /group=g /hostname=fe80::1 /instance=b /ipv6=fe80::1 /port=5432"
        );
    }
}
