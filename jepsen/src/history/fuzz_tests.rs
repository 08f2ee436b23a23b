//! Histories that somebody else wrote, damaged; see the package `fuzz`.

use super::History;

const GOLDEN: [&str; 3] = [
    include_str!("../../golden/set-clean.edn"),
    include_str!("../../golden/append-clean.edn"),
    include_str!("../../golden/bank-clean.edn"),
];

#[test]
fn fuzz_edn() {
    let words = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "#x ",
        "\"",
        "\\u0000",
        "\\ud800",
        ";",
        "\n",
        ":a",
        "nil",
        ",",
        "-",
        "é",
        "{{{{{{{{",
        "[[[[[[[[",
        "########",
        "9223372036854775808",
    ];
    let examples = GOLDEN.into_iter().map(str::as_bytes);
    examples
        .fold(fuzz::target("jepsen: edn"), fuzz::Target::example)
        .words(&words)
        .found("(".repeat(100_000))
        .found("#a ".repeat(100_000))
        .found(format!("{}1{}", "{".repeat(40), " 1}".repeat(40)))
        .run(
            |bytes| History::from_edn(&String::from_utf8_lossy(bytes)).ok(),
            |history| assert_eq!(History::from_edn(&history.to_edn()).unwrap(), history),
        );
}

#[test]
fn fuzz_json_lines() {
    let words = [
        "{", "}", "[[[[[[[[", "\"", "\\ud800", "\n", "null", "1e999", "-", "é",
    ];
    let lines = |edn| History::from_edn(edn).unwrap().to_json_lines();
    let examples = GOLDEN.into_iter().map(lines);
    examples
        .fold(fuzz::target("jepsen: json lines"), fuzz::Target::example)
        .words(&words)
        .run(
            |bytes| History::from_json_lines(&String::from_utf8_lossy(bytes)).ok(),
            |history| {
                assert_eq!(
                    History::from_json_lines(&history.to_json_lines()).unwrap(),
                    history
                )
            },
        );
}
