//! Data that is replaced, although it is of the very branch that the source is on.

use std::fs::OpenOptions;
use std::io::Write;

use primacy::duty::Outcome;
use primacy::model::*;
use primacy::recovery::{Action, Evidence};

use crate::ladder::{End, Scene};
use crate::now;
use crate::rig::{Rig, id, order};

/// A rewind cannot help there. Its recovery would even write WAL on the timeline of the primary: such a standby
/// acknowledges commits that it never replays.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_on_the_branch_of_its_source_is_cloned_and_not_rewound() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    let mut source = rig.pair(&a, &b).await;
    let incarnation = Incarnation(2);
    source.application_name = cluster::application_name(&b, incarnation, Epoch(1));
    let names = format!("ANY 1 (\"{}\")", source.application_name);
    let members = [a.clone(), b.clone()].into();
    let configure = Action::Configure {
        synchronous_standby_names: names,
        members,
    };
    let outcome = rig.peer.command(&a, order(1, 4), configure).await;
    assert_eq!(outcome, Outcome::Done);
    let rebuild = Action::Rebuild {
        source,
        incarnation,
        keep_old: false,
    };
    let outcome = rig.peer.command(&b, order(1, 5), rebuild).await;
    assert!(
        matches!(
            outcome,
            Outcome::Evidence(Evidence::Rebuilt { .. } | Evidence::RebuiltKeeping { .. })
        ),
        "{outcome:?}"
    );
    rig.sql(&a, "INSERT INTO t VALUES (4711)").await;
    let began = now();
    while rig.sql(&b, "SELECT count(*) FROM t WHERE n = 4711").await != "1" {
        let waited = now().since(began);
        assert!(waited.as_secs() < 20, "acknowledged, and never replayed");
    }
}

/// Although a rewind copies the files of the source, and those of the configuration are among them. Where its own would not
/// let it start as a standby, the primary's counts.
#[tokio::test(flavor = "multi_thread")]
async fn a38_an_old_primary_that_is_rewound_keeps_its_port_and_its_configuration() {
    let mut scene = Scene::deposed().await;
    let path = scene.data().join("postgresql.conf");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "work_mem = '7777kB'\nmax_worker_processes = 4").unwrap();
    assert_eq!(scene.bring_back().await, End::Rewound);
    scene.streams().await;
    let (primary, broken) = (scene.primary.clone(), scene.broken.clone());
    assert_eq!(scene.rig.sql(&broken, "SHOW work_mem").await, "7777kB");
    assert_ne!(scene.rig.sql(&primary, "SHOW work_mem").await, "7777kB");
    assert_eq!(
        scene.rig.sql(&broken, "SHOW max_worker_processes").await,
        "8"
    );
    let port = scene.rig.config(&broken).port.to_string();
    assert_eq!(scene.rig.sql(&broken, "SHOW port").await, port);
}
