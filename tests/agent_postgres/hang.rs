//! Disks that hang, and processes that cannot be killed: the agent says so, answers, and goes on when it can.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use primacy::duty::Outcome;
use primacy::host::{Account, processes};
use primacy::model::*;
use primacy::recovery::{Action, Evidence};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::now;
use crate::rig::{Rig, id, order};

/// A file that hangs whoever opens it to read or to write.
struct Fifo(PathBuf);

impl Fifo {
    fn new(path: &Path) -> Fifo {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        Fifo(path.to_owned())
    }
}

impl Drop for Fifo {
    /// Lets go whoever hangs, with nothing to read and nobody to write to; a runtime would wait for them.
    fn drop(&mut self) {
        let flags = OFlags::RDWR | OFlags::NONBLOCK;
        let opened = rustix::fs::open(&self.0, flags, Mode::empty());
        std::fs::remove_file(&self.0).unwrap();
        drop(opened);
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_at_a_disk_that_hangs_do_not_pile_up_and_a_fence_is_answered() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    let version = rig.config(&a).data.join("PG_VERSION");
    let text = std::fs::read(&version).unwrap();
    std::fs::remove_file(&version).unwrap();
    let fifo = Fifo::new(&version);
    // A question is answered from a whole look: it looks again and again.
    let ask = Action::Ask { epoch: Epoch(2) };
    rig.peer.begin(&a, order(1, 2), ask).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = threads();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let more = threads().saturating_sub(before);
    println!("{more} threads more after 5 s");
    assert!(more < 4, "{more} threads more");
    let data = rig.config(&a).data;
    assert!(rig.postmaster(&a).is_some());

    // It is stopped without a look at the disk, and promises nothing.
    let lock = data.join("postmaster.pid");
    std::fs::remove_file(&lock).unwrap();
    let lock = Fifo::new(&lock);
    let outcome = rig.peer.command(&a, order(2, 1), Action::Fence).await;
    assert!(
        matches!(&outcome, Outcome::Failed(why) if why.contains("answer")),
        "{outcome:?}"
    );
    assert!(processes::of(&data).unwrap().is_empty(), "not stopped");

    drop(lock);
    drop(fifo);
    std::fs::write(&version, text).unwrap();
    crate::rig::give_to_postgres(&version);
    let outcome = rig.peer.command(&a, order(2, 1), Action::Fence).await;
    assert!(
        matches!(&outcome, Outcome::Evidence(Evidence::Promised { promise, .. }) if promise.position.is_some()),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_cannot_be_noted_is_noted_later_and_not_made_again() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    let source = rig.primary(&a, "").await;
    rig.start_adopted(&b).await;
    let data = rig.config(&b).data;
    // The settings are read here before the note is written, as soon as the copy is in its place.
    let read = data.join("postgresql.auto.conf");
    let hangs = std::thread::spawn(move || {
        let began = now();
        while !read.exists() {
            assert!(now().since(began) < Duration::from_secs(30), "no copy");
        }
        std::fs::remove_file(&read).unwrap();
        let fifo = Fifo::new(&read);
        crate::rig::give_to_postgres(&read);
        fifo
    });
    let rebuild = Action::Rebuild {
        source,
        incarnation: Incarnation(1),
        keep_old: false,
    };
    let asked = rig.peer.begin(&b, order(1, 3), rebuild.clone()).await;
    let fifo = hangs.join().unwrap();
    // One change of files has failed, and then the next: it is told, and goes on.
    let outcome = rig.peer.outcome(asked).await;
    assert!(
        matches!(&outcome, Outcome::Failed(why) if why.contains("answer")),
        "{outcome:?}"
    );
    let asked = rig.peer.begin(&b, order(1, 3), rebuild.clone()).await;
    drop(fifo);
    let mut outcome = rig.peer.outcome(asked).await;
    // What hung may need a moment to end, and the leader asks again.
    let began = now();
    while matches!(&outcome, Outcome::Failed(why) if why.contains("answer")) {
        assert!(now().since(began) < Duration::from_secs(30), "{outcome:?}");
        outcome = rig.peer.command(&b, order(1, 3), rebuild.clone()).await;
    }
    assert!(
        matches!(
            outcome,
            Outcome::Evidence(Evidence::Rebuilt { .. } | Evidence::RebuiltKeeping { .. })
        ),
        "{outcome:?}"
    );
    let siblings = std::fs::read_dir(data.parent().unwrap()).unwrap().flatten();
    let names = siblings.map(|it| it.file_name().into_string().unwrap());
    let kept: Vec<_> = names.filter(|name| name.contains(".old-")).collect();
    assert!(kept.is_empty(), "it was cloned again: {kept:?}");
}

/// A file system whose writers cannot be killed until it is let go.
struct Frozen(PathBuf);

impl Frozen {
    /// None where no file system can be mounted from a file.
    fn new(root: &Path) -> Option<Frozen> {
        let (image, mounted) = (root.join("frozen.img"), root.join("frozen"));
        std::fs::create_dir(&mounted).unwrap();
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(16 << 20).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            let command = command.args(arguments);
            command.status().is_ok_and(|status| status.success())
        };
        let [image, at] = [&image, &mounted].map(|path| path.to_str().unwrap());
        if !run("mkfs.ext4", &["-q", image]) || !run("mount", &["-o", "loop", image, at]) {
            return None;
        }
        std::fs::set_permissions(
            &mounted,
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        assert!(run("fsfreeze", &["--freeze", at]));
        Some(Frozen(mounted))
    }

    /// A process of PostgreSQL's user that works in the data folder and waits for this file system.
    fn stuck(&self, data: &Path) -> Child {
        let account = Account::named("postgres").unwrap();
        let mut command = Command::new("touch");
        command.arg0("postgres: pg-a: stuck").arg(self.0.join("x"));
        command.current_dir(data).uid(account.uid).gid(account.gid);
        let child = command.spawn().unwrap();
        let began = now();
        let stat = format!("/proc/{}/stat", child.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") D ") {
            assert!(now().since(began) < Duration::from_secs(10), "not stuck");
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }

    fn thaw(&self) {
        let _ = Command::new("fsfreeze")
            .arg("--unfreeze")
            .arg(&self.0)
            .status();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw();
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_postmaster_is_told_although_a_backend_cannot_be_killed() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    let source = rig.primary(&a, "").await;
    let data = rig.config(&a).data;
    let Some(frozen) = Frozen::new(data.parent().unwrap()) else {
        return println!("skipped: no file system can be mounted from a file here");
    };
    let mut stuck = frozen.stuck(&data);
    let postmaster = rig.postmaster(&a).unwrap();
    let began = now();
    processes::signal(&data, postmaster, rustix::process::Signal::KILL);
    let died = |report: &Report| report.database == Database::Stopped(Stopped::Died);
    rig.peer.until_reported("the death is told", &a, died).await;
    println!("told after {} ms", now().since(began).as_millis());
    let left = || processes::of(&data).unwrap();
    rig.peer
        .until("only the stuck process is left", |_| {
            (left().len() == 1).then_some(())
        })
        .await;

    // The peer would grant it, but it is not asked.
    let lapsed = |report: &Report| report.lease.is_none();
    rig.peer.until_reported("the lease ends", &a, lapsed).await;
    assert!(rig.peer.report(&a).is_some_and(|report| died(&report)));
    // Nothing is promised and nothing is started beside it.
    let outcome = rig.peer.command(&a, order(2, 1), Action::Fence).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    let follow = Action::Follow { source };
    let outcome = rig.peer.command(&a, order(2, 2), follow).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert_eq!(left().len(), 1, "{:?}", left());

    frozen.thaw();
    assert!(!stuck.wait().unwrap().success(), "it was killed");
    let outcome = rig.peer.command(&a, order(3, 1), Action::Fence).await;
    assert!(
        matches!(outcome, Outcome::Evidence(Evidence::Promised { .. })),
        "{outcome:?}"
    );
    assert!(left().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_stopped_is_killed_with_its_postmaster() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    let data = rig.config(&a).data;
    let _session = rig.sql_behind(&a, "SELECT pg_sleep(60)");
    let sessions = || processes::titled(&data, "SELECT").unwrap();
    rig.peer
        .until("the session works", |_| sessions().first().cloned())
        .await;
    for session in sessions() {
        processes::signal(&data, session.pid, rustix::process::Signal::STOP);
    }
    let postmaster = rig.postmaster(&a).unwrap();
    processes::signal(&data, postmaster, rustix::process::Signal::KILL);
    let died = |report: &Report| report.database == Database::Stopped(Stopped::Died);
    rig.peer.until_reported("the death is told", &a, died).await;
    rig.peer
        .until("nothing is left", |_| {
            processes::of(&data).unwrap().is_empty().then_some(())
        })
        .await;
}
