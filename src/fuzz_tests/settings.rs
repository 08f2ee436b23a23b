//! What people write: configuration files; and what `dev` notes of one.

use super::{json, keeps_json};
use crate::agent::AgentConfig;
use crate::config;
use crate::dev::layout::Layout;
use crate::server;

const TOML: &[&str] = &[
    "\n",
    "=",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "\"",
    "'''",
    "\"\"\"",
    "\\u0000",
    "\\U0010FFFF",
    ".",
    "a.b.c = 1\n",
    "inf",
    "0x",
    "1979-05-27T07:32:00Z",
    "-",
    "_",
    "#",
    "[[[[[[[[",
    "x={x=",
    "18446744073709551616",
];

#[test]
fn fuzz_server_toml() {
    let sample = include_str!("../../docs/server.toml");
    fuzz::target("server: configuration")
        .example(sample)
        .example(config::all_given(sample))
        .example(
            r#"{"ProviderType": "postgresql", "PostgreSQLTopologyUser": "u", "PostgreSQLTopologyPassword": "p",
                "PostgreSQLSSLMode": "require", "DefaultInstancePort": 5432, "folder": "/tmp/peer"}"#,
        )
        .words(TOML)
        .run(
            |bytes| server::Config::parse(&String::from_utf8_lossy(bytes)).ok(),
            |config| assert!(config.folder.is_absolute()),
        );
}

#[test]
fn fuzz_agent_toml() {
    let sample = include_str!("../../docs/agent.toml");
    fuzz::target("agent: configuration")
        .example(sample)
        .example(config::all_given(sample))
        .words(TOML)
        .run(
            |bytes| AgentConfig::parse(&String::from_utf8_lossy(bytes)).ok(),
            |config| assert_eq!(config.validate(), Ok(())),
        );
}

#[test]
fn fuzz_dev_layout() {
    let example = r#"{"folder":"/tmp/dev","program":"/usr/bin/primacy","account":[1000,1000],"cluster":"demo",
        "dsn":"postgres://app@127.0.0.1:5432/app","password":"x","nodes":{"a":{"kind":"instance","zone":"z1","port":5432,
        "health":8008,"started":[7,9]},"p1":{"kind":"peer","zone":"z1","port":7001,"health":null,"started":null}}}"#;
    let example: Layout = serde_json::from_str(example).unwrap();
    json("dev: layout", &example).run(
        |bytes| serde_json::from_slice::<Layout>(bytes).ok(),
        keeps_json,
    );
}
