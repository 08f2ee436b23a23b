//! What people write: configuration files.

use crate::agent::AgentConfig;
use crate::config;
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
