//! What is kept of data that is replaced: WAL that nobody else has, tablespaces, and what fits on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use primacy::duty::Outcome;
use primacy::host::kept_wal;
use primacy::model::*;
use primacy::recovery::{Action, Evidence};

use crate::ladder::{End, Scene};
use crate::rig::{Rig, give_to_postgres, id, order};

fn primacy(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
    let output = command.args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Before a rewind overwrites it, what only the old primary had is copied aside, the record learns where, and somebody can
/// read what was in it.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_old_primary_had_is_kept_and_can_be_read() {
    let mut scene = Scene::deposed_after(async |scene| {
        let broken = scene.broken.clone();
        let file = scene.rig.sql(&broken, "SELECT pg_relation_filenode('t')").await;
        fs::write(scene.data().with_extension("filenode"), file).unwrap();
        let alone = "SET synchronous_commit = local; UPDATE t SET n = -2 WHERE n <= 3; DELETE FROM t WHERE n = 7";
        scene.rig.sql(&broken, alone).await;
    })
    .await;
    let file = fs::read_to_string(scene.data().with_extension("filenode")).unwrap();
    let end = scene.bring_back().await;
    assert_eq!(end, End::Rewound);
    scene.streams().await;
    let folders = scene.beside(".wal-");
    assert_eq!(folders.len(), 1);
    let (kept, apart) = scene.kept.clone().expect("it says what is kept");
    assert!(kept.contains(folders[0].to_str().unwrap()), "{kept}");
    let apart = apart.expect("its ends are known");
    assert_eq!(apart.from.timeline, Timeline(2));
    assert!(apart.to > apart.from, "{apart:?}");
    let note = kept_wal::note(&folders[0]).unwrap().unwrap();
    assert_eq!(note.to, Some(apart.to.to_string()));
    let folder = folders[0].to_str().unwrap();

    let (code, json, said) = primacy(&["salvage", folder, "--output", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["instance"], "pg-a");
    let relations = found["relations"].as_array().unwrap();
    let of_t = |it: &&serde_json::Value| {
        it["relation"]
            .as_str()
            .unwrap()
            .ends_with(&format!("/{file}"))
    };
    let t = relations
        .iter()
        .find(of_t)
        .unwrap_or_else(|| panic!("{json}"));
    let counts =
        ["inserted", "updated", "deleted", "not_committed"].map(|it| t[it].as_u64().unwrap());
    assert_eq!(counts, [1, 4, 1, 0], "{json}");
    // INSERT and CREATE TABLE AS in one, UPDATE and DELETE in the other; the table that is only there has a row, too.
    let commits: Vec<_> = found["commits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["rows"].as_u64().unwrap())
        .collect();
    assert!(commits.contains(&2) && commits.contains(&5), "{json}");
    let (code, table, said) = primacy(&["salvage", folder]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        table.starts_with("pg-a: from 2:") && said.contains("pg_filenode_relation"),
        "{table}{said}"
    );
    println!("{table}");

    let nowhere = tempfile::tempdir().unwrap();
    let nowhere = nowhere.path().to_str().unwrap();
    let (code, _, said) = primacy(&["salvage", folder, "--binaries", nowhere]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("there is no pg_waldump") && said.contains("--binaries"),
        "{said}"
    );
    let (code, _, said) = primacy(&["salvage", nowhere]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--timeline"), "{said}");
}

/// Both are on one host here, as the old data and the copy of it always are: their tablespaces are in one place.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_tablespaces_takes_no_place_that_is_taken() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    let mut source = rig.primary(&a, "").await;
    let space = rig.config(&a).data.with_extension("space");
    fs::create_dir(&space).unwrap();
    give_to_postgres(&space);
    rig.sql(
        &a,
        &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()),
    )
    .await;
    rig.sql(
        &a,
        "CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000) AS n",
    )
    .await;
    rig.start_adopted(&b).await;
    let links = rig.config(&b).data.join("pg_tblspc");
    let mut places: Vec<PathBuf> = Vec::new();
    for number in 1..3 {
        let incarnation = Incarnation(number);
        source.application_name = cluster::application_name(&b, incarnation, Epoch(1));
        let rebuild = Action::Rebuild {
            source: source.clone(),
            incarnation,
            keep_old: true,
        };
        let outcome = rig.peer.command(&b, order(1, 10 + number), rebuild).await;
        let is_rebuilt = |it: &Evidence| {
            matches!(
                it,
                Evidence::Rebuilt { .. } | Evidence::RebuiltKeeping { .. }
            )
        };
        assert!(
            matches!(&outcome, Outcome::Evidence(it) if is_rebuilt(it)),
            "{outcome:?}"
        );
        assert_eq!(rig.sql(&b, "SELECT count(*) FROM t").await, "1000");
        let link = fs::read_dir(&links).unwrap().next().unwrap().unwrap();
        let place = fs::read_link(link.path()).unwrap();
        assert!(place.starts_with(&space) && place != space, "{place:?}");
        assert!(!places.contains(&place));
        places.push(place);
    }
    assert!(
        places.iter().all(|it| it.exists()),
        "the old data has its own still"
    );
}

/// A file system of its own for the data folder of the broken instance.
struct Disk(PathBuf);

impl Disk {
    /// None where nothing can be mounted.
    fn mount(place: &Path, megabytes: u64) -> Option<Disk> {
        fs::create_dir_all(place).unwrap();
        let size = format!("size={megabytes}m");
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(place);
        if !command.status().is_ok_and(|it| it.success()) {
            println!("SKIPPED: nothing can be mounted here; run it as root");
            return None;
        }
        give_to_postgres(place);
        Some(Disk(place.to_owned()))
    }

    fn remount(&self, how: &str) {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,{how}")]).arg(&self.0);
        assert!(command.status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A standby whose data lies on a disk of its own, and that was killed.
async fn on_a_disk(name: &str, megabytes: u64) -> Option<(Disk, Scene)> {
    let place = std::env::temp_dir().join(format!("primacy-disk-{name}-{}", std::process::id()));
    let disk = Disk::mount(&place, megabytes)?;
    let scene = Scene::standby_in(&disk.0.join("data")).await;
    Some((disk, scene))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_read_only_is_told_and_what_follows_when_it_is_not() {
    let Some((disk, mut scene)) = on_a_disk("ro", 300).await else {
        return;
    };
    disk.remount("ro");
    let end = scene.bring_back().await;
    let End::Told(why) = &end else {
        panic!("{end:?}")
    };
    assert!(why.contains("Read-only file system"), "{why}");
    disk.remount("rw");
    assert_eq!(scene.bring_back().await, End::Follows);
    scene.streams().await;
}

/// Nothing is deleted to make room, and the disk is not filled by a copy that does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_is_told_and_copied_to_when_it_is_not() {
    let Some((disk, mut scene)) = on_a_disk("full", 160).await else {
        return;
    };
    let data = scene.data();
    fs::write(data.join("global/pg_control"), "").unwrap();
    let filler = disk.0.join("filler");
    let free = || {
        rustix::fs::statvfs(&disk.0)
            .map(|it| it.f_bavail * it.f_frsize)
            .unwrap()
    };
    let of_file = free().saturating_sub(20 << 20);
    fs::write(&filler, vec![1; of_file as usize]).unwrap();
    let end = scene.bring_back().await;
    let End::Told(why) = &end else {
        panic!("{end:?}")
    };
    assert!(
        why.contains("the copy takes") || why.contains("No space left"),
        "{why}"
    );
    assert!(free() > 10 << 20, "the copy took {} of it", free());
    assert!(data.metadata().unwrap().is_dir() && data.metadata().unwrap().uid() != 0);
    fs::remove_file(&filler).unwrap();
    assert_eq!(scene.bring_back().await, End::Cloned);
    scene.streams().await;
}
