//! Every decoder of this package under damaged and hostile input; see the package `fuzz`. Those of raft are tested there.

mod control;
mod disk;
mod http;
mod provider;
mod security;
mod settings;
mod wal;

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A target for JSON with this example.
fn json<T: Serialize>(name: &str, example: &T) -> fuzz::Target {
    let words = [
        "{",
        "}",
        "[",
        "[[[[[[[[",
        "{\"a\":",
        "\"",
        "\\u0000",
        "\\ud800",
        ",",
        ":",
        "null",
        "true",
        "-",
        "1e999",
        "0.",
        "18446744073709551616",
        "\u{feff}",
        "💥",
    ];
    fuzz::target(name)
        .example(serde_json::to_vec(example).unwrap())
        .words(&words)
}

/// What was decoded encodes to what decodes to the same.
fn keeps_json<T: Serialize + DeserializeOwned>(value: T) {
    let text = serde_json::to_string(&value).unwrap();
    let again: T = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
}

/// The same for records.
fn keeps_record<T: Serialize + DeserializeOwned + PartialEq + Debug>(limit: usize) -> impl Fn(T) {
    move |value| {
        let written = raft::seal(&value).unwrap();
        assert_eq!(raft::unseal::<T>(&written, limit).unwrap(), value);
    }
}
