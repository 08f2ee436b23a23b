//! What operators say: typed, told, and shown.

use crate::rig::{Peers, run, until};

const MEMBERS: [&str; 6] = [
    "--member",
    "a=127.0.0.1:1/2@z1",
    "--member",
    "b=127.0.0.1:3/4@z2",
    "--member",
    "c=127.0.0.1:5/6@z3",
];

#[test]
fn pauses_downtimes_and_rules_are_said_shown_and_taken_back() {
    let peers = Peers::start(3);
    let api = peers.api();
    let ask = |verb: &[&str]| run(&[&["--api", &api], verb].concat());
    let create = [&["cluster", "create", "demo"][..], &MEMBERS].concat();
    assert_eq!(ask(&create).0, Some(0));
    let why = ["--for", "2h", "--reason", "new disk", "--owner", "ana"];
    let pause = [&["pause"][..], &why].concat();
    // As soon as every peer is known to understand it.
    let mut told = ask(&pause);
    until("every peer understands it", || {
        told = ask(&pause);
        told.0 != Some(3)
    });
    assert_eq!(told.0, Some(0), "{told:?}");
    assert!(
        told.1.starts_with("every cluster is paused until "),
        "{told:?}"
    );
    let (code, text, _) = ask(&["status", "demo"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("PAUSE every cluster until "), "{text}");
    assert!(text.contains(" by ana: new disk\n"), "{text}");
    // Since when is noted a moment after it is found.
    until("it is told since when", || {
        let (code, text, _) = ask(&["problems"]);
        code == Some(8) && text.contains("demo  Paused since ")
    });

    let one = [&["pause", "demo"][..], &why].concat();
    assert_eq!(ask(&one).0, Some(0));
    let (code, _, errors) = ask(&["resume", "demo"]);
    assert_eq!(code, Some(0));
    assert!(
        errors.contains("WARN  every cluster is paused until "),
        "{errors}"
    );
    let (code, text, errors) = ask(&["resume"]);
    assert_eq!(
        (code, text.as_str(), errors.as_str()),
        (Some(0), "the pause of all clusters is over\n", "")
    );

    let downtime = [&["instance", "downtime", "demo", "b"][..], &why].concat();
    let (code, text, _) = ask(&downtime);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("b is in downtime until "), "{text}");
    let rule = ["instance", "rule", "demo", "c", "must-not"];
    assert_eq!(ask(&rule).1, "c: must-not\n");
    let (_, text, _) = ask(&["status", "demo"]);
    assert!(text.contains("DOWN  b in downtime until "), "{text}");
    assert!(text.contains("RULE  c: must_not\n"), "{text}");
    assert_eq!(
        ask(&["instance", "uptime", "demo", "b"]).1,
        "b is in downtime no longer\n"
    );

    for (verb, code) in [
        (&["pause", "other", "--for", "1h", "--reason", "r"][..], 4),
        (&["pause", "--for", "1h"], 2),
        (&["pause", "--for", "1", "--reason", "r"], 2),
        (&["pause", "--for", "31d", "--reason", "r"], 2),
        (&["instance", "uptime", "demo", "z"], 4),
        (&["instance", "rule", "demo", "c", "must"], 2),
    ] {
        assert_eq!(ask(verb).0, Some(code), "{verb:?}");
    }
}
