//! Every broken state of an instance that was thought of, and the rung of the ladder that brings it back, or the words
//! that a person gets: nobody is stranded in silence.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};

use primacy::model::Timeline;

use crate::ladder::{End, Scene, as_postgres};
use crate::rig::give_to_postgres;

/// A test for each: the scene, how it is broken, and where it ends.
macro_rules! broken_states {
    ($($(#[$doc:meta])* $name:ident($scene:ident: $from:expr) => $end:expr, $break:block)+) => {$(
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let mut $scene = $from;
            $break
            check(&mut $scene, $end).await;
        }
    )+};
}

async fn check(scene: &mut Scene, expected: End) {
    let end = scene.bring_back().await;
    match (&end, &expected) {
        (End::Told(said), End::Told(words)) => assert!(said.contains(words), "{said}"),
        _ => assert_eq!(end, expected),
    }
    if !matches!(end, End::Told(_)) {
        scene.streams().await;
    }
}

fn told(words: &str) -> End {
    End::Told(words.to_owned())
}

broken_states! {
    a_standby_that_was_killed(scene: Scene::standby().await) => End::Follows, {
        let _ = scene.data();
    }

    a_deposed_primary_with_wal_of_its_own(scene: Scene::deposed().await) => End::Rewound, {
        let _ = scene.data();
    }

    /// Somebody thought that it was a standby.
    a_stale_standby_signal_on_an_old_primary(scene: Scene::deposed().await) => End::Rewound, {
        fs::write(scene.data().join("standby.signal"), "").unwrap();
    }

    a_stale_recovery_signal(scene: Scene::deposed().await) => End::Rewound, {
        fs::write(scene.data().join("recovery.signal"), "").unwrap();
    }

    /// It names a process that lives and has nothing to do with it.
    a_stale_lock_file(scene: Scene::deposed().await) => End::Rewound, {
        let path = scene.data().join("postmaster.pid");
        let text = fs::read_to_string(&path).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        fs::write(&path, format!("{}\n{rest}", std::process::id())).unwrap();
    }

    /// The half of it is of the source.
    a_rewind_that_was_killed(scene: Scene::deposed().await) => End::Cloned, {
        let data = scene.data();
        let half = format!("rm -rf '{}/base/1'", data.display());
        scene.killed_in_the_middle("pg_rewind", &half).await;
        assert!(!data.join("base/1").exists());
    }

    a_rewind_that_is_killed_each_time(scene: Scene::deposed().await) => End::Cloned, {
        scene.replace_program("pg_rewind", "kill -9 $$").await;
    }

    a_clone_that_was_killed(scene: Scene::deposed().await) => End::Cloned, {
        let data = scene.data();
        fs::remove_dir_all(data.join("pg_wal")).unwrap();
        fs::create_dir(data.join("pg_wal")).unwrap();
        give_to_postgres(&data.join("pg_wal"));
        let fresh = format!("{}.new", data.display());
        let half = format!("mkdir -p '{fresh}/base'; echo 15 > '{fresh}/PG_VERSION'");
        scene.killed_in_the_middle("pg_basebackup", &half).await;
        assert_eq!(scene.beside(".new").len(), 1);
    }

    /// Neither data checksums nor hint bits in the WAL: pg_rewind would not see every changed block.
    a38_data_that_cannot_be_rewound(scene: Scene::deposed().await) => End::Cloned, {
        let data = scene.data();
        for hints in ["on", "off"] {
            as_postgres("/usr/lib/postgresql/15/bin/postgres", |command| {
                command.args(["--single", "-c", "wal_log_hints=off", "-c", "restart_after_crash=off", "-D"])
                    .arg(&data).arg("postgres")
            });
            if hints == "on" {
                scene.program("pg_checksums", &["--disable", "--no-sync"]);
            }
        }
    }

    /// Of what it wrote before the branches parted, nothing is left.
    wal_that_is_missing_where_it_is_needed(scene: Scene::deposed().await) => End::Cloned, {
        let wal = scene.wal().folder;
        for entry in fs::read_dir(&wal).unwrap().flatten() {
            if entry.file_name().len() == 24 {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    wal_that_the_primary_has_removed(scene: Scene::standby().await) => End::Cloned, {
        let primary = scene.primary.clone();
        let switch = "SELECT pg_switch_wal(); CREATE TABLE filler(n int); DROP TABLE filler;";
        for _ in 0..2 {
            for statement in switch.split_inclusive(';') {
                scene.rig.sql(&primary, statement).await;
            }
        }
        let folder = scene.rig.config(&primary).data.join("pg_wal");
        let present = scene.rig.sql(&primary, "SELECT pg_walfile_name(pg_current_wal_lsn())").await;
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.len() == 24 && name < present {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// Somebody promoted it by hand while another took the same number.
    diverged_on_the_timeline_of_the_primary(scene: Scene::deposed().await) => End::Cloned, {
        let data = scene.data();
        // Its own history says that the branch of the primary's number left elsewhere.
        let wal = scene.wal();
        let fork = scene.source(primacy::model::Incarnation(1)).lineage.left_at[&Timeline(2)];
        let segment = |timeline| wal.folder.join(wal.segment_name(Timeline(timeline), wal.segment_of(fork)));
        fs::remove_file(data.join("postmaster.pid")).unwrap();
        // Its agent would stop it.
        let broken = scene.broken.clone();
        scene.rig.stop(&broken).await;
        promoted_by_hand(&mut scene);
        scene.rig.start_adopted(&broken).await;
        assert!(segment(3).exists() && data.join("pg_wal/00000003.history").exists());
    }

    another_database(scene: Scene::standby().await) => told("holds another database"), {
        let data = scene.data();
        let other = data.with_extension("other");
        as_postgres("/usr/lib/postgresql/15/bin/initdb", |command| command.arg("-N").arg("-D").arg(&other));
        fs::rename(&data, data.with_extension("away")).unwrap();
        fs::rename(&other, &data).unwrap();
    }

    data_of_a_newer_version(scene: Scene::standby().await) => told("was made by PostgreSQL 17"), {
        fs::write(scene.data().join("PG_VERSION"), "17\n").unwrap();
    }

    files_that_are_no_database(scene: Scene::standby().await) => told("holds files that are no database"), {
        fs::remove_file(scene.data().join("PG_VERSION")).unwrap();
    }

    an_empty_data_folder(scene: Scene::standby().await) => End::Cloned, {
        // There is nothing to keep but the folder.
        let data = scene.data();
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir(&data).unwrap();
        give_to_postgres(&data);
    }

    a_damaged_control_file(scene: Scene::standby().await) => End::Cloned, {
        let path = scene.data().join("global/pg_control");
        let mut bytes = fs::read(&path).unwrap();
        bytes[40..200].fill(0x5A);
        fs::write(&path, bytes).unwrap();
    }

    an_empty_control_file(scene: Scene::deposed().await) => End::Cloned, {
        fs::write(scene.data().join("global/pg_control"), "").unwrap();
    }

    /// The primary has it, and gives it to whoever streams.
    a_missing_history_file(scene: Scene::standby().await) => End::Follows, {
        fs::remove_file(scene.data().join("pg_wal/00000002.history")).unwrap();
    }

    foreign_settings(scene: Scene::deposed().await) => End::Rewound, {
        let path = scene.data().join("postgresql.auto.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        let foreign = "primary_conninfo = 'host=nowhere'\nrecovery_target = 'immediate'\nrecovery_target_action = 'shutdown'\n\
                       primary_slot_name = 'nobodys'\nhot_standby = off\nport = 1\nrestore_command = 'false'\n";
        file.write_all(foreign.as_bytes()).unwrap();
    }

    foreign_settings_of_a_standby(scene: Scene::standby().await) => End::Follows, {
        let path = scene.data().join("postgresql.auto.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"recovery_target_time = '2001-01-01'\nport = 1\n").unwrap();
    }

    a_setting_that_postgresql_does_not_know(scene: Scene::standby().await) => told("no_such_setting"), {
        let path = scene.data().join("postgresql.auto.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"no_such_setting = 1\n").unwrap();
    }

    files_of_root(scene: Scene::standby().await) => told("Permission denied"), {
        let path = scene.data().join("global/pg_filenode.map");
        chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    a_data_folder_of_root(scene: Scene::standby().await) => told("chown -R"), {
        chown(scene.data(), Some(0), Some(0)).unwrap();
    }
}

/// What `pg_ctl promote` does, with nothing that runs afterwards.
fn promoted_by_hand(scene: &mut Scene) {
    let data = scene.data();
    fs::write(data.join("standby.signal"), "").unwrap();
    let log = data.parent().unwrap().join("by-hand.log");
    give_to_postgres(data.parent().unwrap());
    for arguments in [
        &[
            "start",
            "-w",
            "-o",
            "-c primary_conninfo= -c listen_addresses=",
        ][..],
        &["promote", "-w"],
        &["stop", "-m", "fast"],
    ] {
        as_postgres("/usr/lib/postgresql/15/bin/pg_ctl", |command| {
            command
                .args(arguments)
                .arg("-l")
                .arg(&log)
                .arg("-D")
                .arg(&data)
        });
    }
}
