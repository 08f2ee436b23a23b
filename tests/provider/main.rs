//! What every provider must show: one table, held against PostgreSQL 15 with real servers and against the model in
//! memory. A new engine is one more stage.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod behaviours;
mod changes;
mod model;
mod postgres;
mod preflight;
mod registry;
mod servers;
mod stage;
mod tls;
mod trio;

/// The table. Each behaviour gets a primary, two standbys and nothing else.
macro_rules! every_provider {
    ($($part:ident::$behaviour:ident,)*) => {
        mod postgresql {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $behaviour() {
                crate::$part::$behaviour(&crate::trio::Trio::start().await).await;
            })*
        }

        mod simulated {
            $(#[tokio::test]
            async fn $behaviour() {
                crate::$part::$behaviour(&crate::model::Model::new()).await;
            })*
        }
    };
}

every_provider! {
    behaviours::a4_one_cluster_however_its_sources_are_written,
    behaviours::a5_lag_rises_with_silence_and_not_with_idleness,
    behaviours::a6_positions_are_numbers_of_one_timeline,
    behaviours::a9_a_pause_stops_applying_and_not_receiving,
    behaviours::a19_errors_say_what_they_are_evidence_of,
    behaviours::a_commit_shows_that_the_disk_takes_writes,
    changes::a7_another_source_changes_host_and_port_alone,
    changes::a8_read_only_is_a_courtesy,
    changes::a17_who_is_detached_follows_nobody_until_reattached,
    changes::a18_commits_wait_for_whom_they_are_told_to,
    changes::a19_a_promotion_is_one_and_the_others_follow_a39_on_its_timeline,
    changes::a19_an_older_epoch_and_a_dry_run_change_nothing,
    changes::a_revoked_standby_receives_nothing_and_says_where_it_ends,
}
