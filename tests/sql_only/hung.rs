//! The primary hangs: its sockets stay open, new ones are taken, and nobody answers.

use rustix::process::Signal;

use crate::load::{Load, rows};
use crate::rig::{Rig, is_installed};

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_is_replaced_and_asked_to_be_quiet_when_it_goes_on() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    rig.make_synchronous().await;
    for standby in &rig.servers[1..] {
        standby.sql("ALTER SYSTEM SET wal_receiver_timeout = '2s'");
        standby.sql("SELECT pg_reload_conf()");
    }
    rig.adopt(0).await;
    rig.until("quorum", |it| it["durability"] == "quorum 1")
        .await;
    let load = Load::start(&rig);
    load.more(200).await;
    rig.signal_all(0, Signal::STOP);
    let replaced = rig
        .until("replaced", |it| {
            it["primary"] != "primary" && it["phase"] == "serving" && it["epoch"] == 2
        })
        .await;
    let new = match replaced["primary"].as_str() {
        Some("s1") => 1,
        _ => 2,
    };
    // Those who write may still wait for the old one to answer.
    rig.servers[new].sql("INSERT INTO w VALUES (-1)");
    rig.signal_all(0, Signal::CONT);
    rig.servers[0]
        .until("SELECT current_setting('default_transaction_read_only') = 'on'")
        .await;
    load.more(100).await;
    let acknowledged = load.end();
    let there = rows(&rig, new);
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
}
