//! The table: who may call which route.

use axum::http::Method;

use crate::http::directives::{ACKNOWLEDGE, BLOCK, DOWNTIME, PRIORITY, RULE};
use crate::http::durability::DURABILITY;
use crate::http::explain;
use crate::http::failovers::FAILOVER;
use crate::http::kv::KV;
use crate::model::AccessRole;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Anybody: health checks, and newcomers, who show a secret of their own.
    Open,
    /// Members of the group.
    Peers,
    /// Members and those who were: they ask whether they were removed.
    FormerPeers,
    /// Agents; each for its own instance, which the session checks.
    Agents,
    /// Agents and members, for themselves.
    Holders,
    /// Who holds at least this role over the installation.
    Installation(AccessRole),
    /// Who holds at least this role over the cluster in the path.
    Cluster(AccessRole),
    /// Who holds at least this role over some clusters, and is shown these: see [`Scope`](crate::model::Scope) among the extensions.
    Listed(AccessRole),
}

use AccessRole::{Admin, Operator, Viewer};
use Rule::{Agents, Cluster, FormerPeers, Holders, Installation, Listed, Open, Peers};

const SWITCHOVER: &str = "/api/v1/clusters/{cluster}/switchover";
const PAUSE: &str = "/api/v1/clusters/{cluster}/pause";

/// Methods, path and rule. `get` is HEAD too; `any` is every method.
pub const RULES: &[(&str, &str, Rule)] = &[
    ("any", "/livez", Open),
    ("any", "/readyz", Open),
    ("any", "/healthz", Open),
    ("any", "/metrics", Open),
    ("any", "/api/leader-check", Open),
    ("any", "/api/leader-check/{code}", Open),
    ("any", "/api/routed-leader-check", Open),
    ("any", "/api/routed-leader-check/{code}", Open),
    ("any", "/api/raft-health", Open),
    ("any", "/api/raft-leader", Open),
    ("any", "/api/raft-state", Open),
    ("any", "/api/raft-peers", Open),
    ("any", "/api/raft-status", Open),
    ("any", "/api/status", Open),
    ("any", "/api/health", Open),
    ("any", "/api/lb-check", Open),
    ("any", "/api/_ping", Open),
    ("any", "/api/check-global-recoveries", Open),
    ("get", "/api/v1/openapi.json", Installation(Viewer)),
    ("get", "/api/v1/leader", Installation(Viewer)),
    ("post", "/api/v1/leader/transfer", Installation(Admin)),
    ("get", "/api/v1/peers", Installation(Viewer)),
    ("post", "/api/v1/peers", Installation(Admin)),
    ("get", "/api/v1/peers/{peer}", Installation(Viewer)),
    ("delete", "/api/v1/peers/{peer}", Installation(Admin)),
    ("post", "/api/v1/peers/{peer}/promote", Installation(Admin)),
    ("get", "/api/v1/tokens", Installation(Admin)),
    ("post", "/api/v1/tokens", Installation(Admin)),
    ("delete", "/api/v1/tokens/{name}", Installation(Admin)),
    ("post", "/api/v1/invitations", Installation(Admin)),
    ("get", "/api/v1/pause", Installation(Viewer)),
    ("post", "/api/v1/pause", Installation(Operator)),
    ("delete", "/api/v1/pause", Installation(Operator)),
    ("get", "/api/v1/problems", Listed(Viewer)),
    ("get", "/api/v1/clusters", Listed(Viewer)),
    ("post", "/api/v1/clusters", Installation(Admin)),
    ("get", "/api/v1/clusters/{cluster}", Cluster(Viewer)),
    ("delete", "/api/v1/clusters/{cluster}", Installation(Admin)),
    ("post", SWITCHOVER, Cluster(Operator)),
    ("delete", SWITCHOVER, Cluster(Operator)),
    ("put", DURABILITY, Cluster(Admin)),
    ("post", FAILOVER, Cluster(Admin)),
    ("post", PAUSE, Cluster(Operator)),
    ("delete", PAUSE, Cluster(Operator)),
    ("post", BLOCK, Cluster(Operator)),
    ("post", PRIORITY, Cluster(Operator)),
    ("post", ACKNOWLEDGE, Cluster(Operator)),
    ("post", DOWNTIME, Cluster(Operator)),
    ("delete", DOWNTIME, Cluster(Operator)),
    ("post", RULE, Cluster(Operator)),
    ("post", "/api/v1/adoptions", Installation(Admin)),
    ("get", "/api/v1/clusters/{cluster}/primary", Cluster(Viewer)),
    (
        "get",
        "/api/v1/clusters/{cluster}/instances",
        Cluster(Viewer),
    ),
    ("get", "/api/v1/clusters/{cluster}/history", Cluster(Viewer)),
    ("get", explain::FAILOVER, Cluster(Viewer)),
    ("get", explain::SWITCHOVER, Cluster(Viewer)),
    (
        "get",
        "/api/v1/clusters/{cluster}/recoveries",
        Cluster(Viewer),
    ),
    ("get", KV, Listed(Viewer)),
    ("get", "/agent/v1/session", Agents),
    ("post", "/internal/v1/enrol", Open),
    ("post", "/internal/v1/renew", Holders),
    ("get", "/internal/v1/peers/{peer}", FormerPeers),
    ("get", "/internal/v1/look/{cluster}/{instance}", Peers),
    ("get", "/internal/v1/sql/{cluster}/{instance}", Peers),
    ("get", "/internal/v1/peer", Peers),
    ("post", "/raft/v1/{call}", Peers),
];

/// The rule of a route; none for a method that is not taken there.
pub(super) fn rule(method: &Method, path: &str) -> Option<Rule> {
    let takes = |methods: &str| match methods {
        "any" => true,
        "get" => method == Method::GET || method == Method::HEAD,
        one => method.as_str().eq_ignore_ascii_case(one),
    };
    let mut rules = RULES.iter();
    let found = rules.find(|(methods, of, _)| *of == path && takes(methods));
    found.map(|(_, _, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_one_rule_and_what_is_not_listed_has_none() {
        for (number, (methods, path, _)) in RULES.iter().enumerate() {
            let same = |(other, of, _): &&(&str, &str, Rule)| {
                of == path && (other == methods || *other == "any" || *methods == "any")
            };
            assert!(!RULES[..number].iter().any(|it| same(&it)), "{path} twice");
        }
        for (method, path) in crate::http::ROUTES {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            assert!(rule(&method, path).is_some(), "{method} {path}");
        }
        for (method, path) in [
            (Method::POST, "/api/v1/leader"),
            (Method::PUT, "/api/v1/clusters"),
            (Method::GET, "/raft/v1/{call}"),
            (Method::GET, "/api/v2/peers"),
        ] {
            assert_eq!(rule(&method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn only_health_checks_and_newcomers_are_open() {
        let open = RULES.iter().filter(|(_, _, rule)| *rule == Open);
        for (_, path, _) in open {
            let is_health = !path.starts_with("/api/v1/") && !path.starts_with("/internal/");
            assert!(is_health || *path == "/internal/v1/enrol", "{path}");
        }
    }
}
