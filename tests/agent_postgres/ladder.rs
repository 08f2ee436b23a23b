//! The ways back of an instance whose data is broken: a scene with a broken instance, and the leader's part by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use primacy::duty::Outcome;
use primacy::host::{Account, processes, wal_page::Wal};
use primacy::model::*;
use primacy::recovery::evidence::Apart;
use primacy::recovery::{Action, Evidence, Source};

use crate::now;
use crate::rig::{Rig, id, order};

const BIN: &str = "/usr/lib/postgresql/15/bin";
/// An agent gives a command up after 8 s, and says why.
const TRIES: usize = 2;

/// Where a way back ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It follows with the data that it had.
    Follows,
    /// Its data was rewound in place.
    Rewound,
    /// Its data was copied anew, and what it had is kept beside.
    Cloned,
    /// A person has to look, and is told why.
    Told(String),
}

/// A primary that serves, and an instance that shall come back to it.
pub struct Scene {
    pub rig: Rig,
    pub primary: InstanceId,
    pub broken: InstanceId,
    source: Source,
    incarnation: Incarnation,
    number: u32,
    /// What the last rebuild said that it kept.
    pub kept: Option<(String, Option<Apart>)>,
}

impl Scene {
    /// A standby whose processes were killed; its primary goes on.
    pub async fn standby() -> Scene {
        Scene::standby_of(Rig::new().await).await
    }

    /// As [`Scene::standby`], with its data there.
    pub async fn standby_in(data: &Path) -> Scene {
        let mut rig = Rig::new().await;
        rig.set_data(&id("pg-b"), data);
        Scene::standby_of(rig).await
    }

    async fn standby_of(mut rig: Rig) -> Scene {
        let (a, b) = (id("pg-a"), id("pg-b"));
        let source = rig.pair(&a, &b).await;
        let names = Action::Configure {
            synchronous_standby_names: String::new(),
            members: [a.clone(), b.clone()].into(),
        };
        assert_eq!(
            rig.peer.command(&a, order(1, 4), names).await,
            Outcome::Done
        );
        let mut scene = Scene {
            rig,
            primary: a,
            broken: b,
            source,
            incarnation: Incarnation(1),
            number: 10,
            kept: None,
        };
        scene.kill();
        scene
    }

    /// A primary that was deposed while it could still write, and crashed: it holds WAL that nobody else has.
    pub async fn deposed() -> Scene {
        Scene::deposed_after(async |_| {}).await
    }

    /// As [`Scene::deposed`], with something done to it before it crashed.
    pub async fn deposed_after(before: impl AsyncFnOnce(&mut Scene)) -> Scene {
        let mut rig = Rig::new().await;
        let (a, b) = (id("pg-a"), id("pg-b"));
        let mut source = rig.pair(&a, &b).await;
        let fenced = rig.peer.command(&b, order(2, 1), Action::Fence).await;
        let Outcome::Evidence(Evidence::Promised { promise, .. }) = fenced else {
            panic!("{fenced:?}");
        };
        let alone = "SET synchronous_commit = local; INSERT INTO t VALUES (-1); CREATE TABLE only_here AS SELECT 1 AS n";
        rig.sql(&a, alone).await;
        rig.peer.grant(&b, order(2, 2), Duration::from_secs(10));
        let promote = Action::Promote {
            timeline: Timeline(3),
            at_least: promise.position.unwrap(),
            synchronous_standby_names: String::new(),
            members: [a.clone(), b.clone()].into(),
        };
        let promoted = rig.peer.command(&b, order(2, 2), promote).await;
        let Outcome::Evidence(Evidence::Promoted { lineage, .. }) = promoted else {
            panic!("{promoted:?}");
        };
        let committed = |report: &Report| {
            matches!(
                report.database,
                Database::Primary {
                    first_commit: Some((Epoch(2), _)),
                    ..
                }
            )
        };
        rig.peer
            .until_reported("the first commit", &b, committed)
            .await;
        source.instance = b.clone();
        source.address = rig.config(&b).address();
        source.epoch = Epoch(2);
        source.lineage = lineage;
        let mut scene = Scene {
            rig,
            primary: b,
            broken: a,
            source,
            incarnation: Incarnation(1),
            number: 10,
            kept: None,
        };
        before(&mut scene).await;
        scene.kill();
        scene
    }

    /// SIGKILL to every process of the broken instance, and until its agent has seen that.
    pub fn kill(&mut self) {
        let data = self.data();
        processes::kill_all(&data, Duration::from_secs(10)).unwrap();
    }

    /// The data folder of the broken instance.
    pub fn data(&mut self) -> PathBuf {
        let broken = self.broken.clone();
        self.rig.config(&broken).data
    }

    pub fn wal(&mut self) -> Wal {
        let data = self.data();
        let control = primacy::host::control_file::read(&data).unwrap();
        Wal {
            folder: data.join("pg_wal"),
            segment_size: control.segment_size,
            system: control.system,
        }
    }

    /// What lies beside the data folder under its name and this suffix.
    pub fn beside(&mut self, suffix: &str) -> Vec<PathBuf> {
        let data = self.data();
        let name = format!("{}{suffix}", data.file_name().unwrap().to_str().unwrap());
        let entries = fs::read_dir(data.parent().unwrap()).unwrap().flatten();
        let mut found: Vec<_> = entries
            .filter(|it| it.file_name().to_str().unwrap().starts_with(&name))
            .map(|it| it.path())
            .collect();
        found.sort();
        found
    }

    /// Runs one of PostgreSQL's programs on the data folder of the broken instance.
    pub fn program(&mut self, program: &str, arguments: &[&str]) {
        let data = self.data();
        as_postgres(&format!("{BIN}/{program}"), |command| {
            command.args(arguments).arg("-D").arg(&data)
        });
    }

    pub fn next_order(&mut self) -> Order {
        self.number += 1;
        order(self.source.epoch.0, self.number)
    }

    /// The source under the name of this filling.
    pub fn source(&self, incarnation: Incarnation) -> Source {
        Source {
            application_name: cluster::application_name(
                &self.broken,
                incarnation,
                self.source.epoch,
            ),
            ..self.source.clone()
        }
    }

    pub fn rebuild(&self) -> Action {
        let incarnation = Incarnation(self.incarnation.0 + 1);
        Action::Rebuild {
            source: self.source(incarnation),
            incarnation,
            keep_old: false,
        }
    }

    /// What a leader does: it has it follow, and has its data replaced if it says that it cannot.
    pub async fn bring_back(&mut self) -> End {
        let broken = self.broken.clone();
        let follow = Action::Follow {
            source: self.source(self.incarnation),
        };
        match self.tried(follow).await {
            Ok(Evidence::Following { .. }) => return End::Follows,
            Ok(Evidence::CannotFollow { why, .. }) => println!("cannot follow: {why}"),
            Ok(other) => panic!("{other:?}"),
            Err(why) => return End::Told(why),
        }
        let kept = self.beside(".old-").len();
        let rebuild = self.rebuild();
        match self.tried(rebuild).await {
            Ok(Evidence::Rebuilt { incarnation, .. }) => self.incarnation = incarnation,
            Ok(Evidence::RebuiltKeeping {
                incarnation,
                kept,
                apart,
                ..
            }) => {
                println!("kept: {kept}");
                self.incarnation = incarnation;
                self.kept = Some((kept, apart));
            }
            Ok(other) => panic!("{other:?}"),
            Err(why) => return End::Told(why),
        }
        let report = self.rig.peer.report(&broken).unwrap();
        println!("rebuilt: {:?}", report.incarnation);
        match self.beside(".old-").len() > kept {
            true => End::Cloned,
            false => End::Rewound,
        }
    }

    async fn tried(&mut self, action: Action) -> Result<Evidence, String> {
        let broken = self.broken.clone();
        let mut told = String::new();
        for _ in 0..TRIES {
            let order = self.next_order();
            match self.rig.peer.command(&broken, order, action.clone()).await {
                Outcome::Evidence(evidence) => return Ok(evidence),
                Outcome::Failed(why) => told = why,
                other => panic!("{other:?}"),
            }
        }
        Err(told)
    }

    /// What the primary commits now arrives, and nothing of what only the broken one had is left.
    pub async fn streams(&mut self) {
        let (primary, broken) = (self.primary.clone(), self.broken.clone());
        self.rig.sql(&primary, "INSERT INTO t VALUES (4711)").await;
        let began = now();
        while self
            .rig
            .sql(&broken, "SELECT count(*) FROM t WHERE n = 4711")
            .await
            != "1"
        {
            let waited = now().since(began);
            assert!(
                waited < Duration::from_secs(20),
                "it streams and does not replay"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let alone = "SELECT count(*) FROM t WHERE n = -1";
        assert_eq!(self.rig.sql(&broken, alone).await, "0");
        let port = self.rig.config(&broken).port.to_string();
        assert_eq!(
            self.rig.sql(&broken, "SHOW port").await,
            port,
            "its own settings"
        );
    }

    /// Has the agent of the broken instance, stopped now, find another program in this place: a script that gets the
    /// original's path as `$real`. Undone by [`Scene::mend_programs`].
    pub async fn replace_program(&mut self, name: &str, script: &str) {
        let broken = self.broken.clone();
        let folder = self.data().parent().unwrap().join("bin");
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(BIN).unwrap().flatten() {
            std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        let path = folder.join(name);
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("#!/bin/sh\nreal={BIN}/{name}\n{script}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.rig.stop(&broken).await;
        self.rig.set_binaries(&broken, &folder);
        self.rig.start_adopted(&broken).await;
    }

    pub async fn mend_programs(&mut self) {
        let broken = self.broken.clone();
        self.rig.stop(&broken).await;
        self.rig.set_binaries(&broken, Path::new(BIN));
        self.rig.start_adopted(&broken).await;
    }

    /// Begins to replace the data with a program that says so in a file and then stands still, and kills it with its agent.
    pub async fn killed_in_the_middle(&mut self, program: &str, done_before: &str) {
        let broken = self.broken.clone();
        let mark = self.data().parent().unwrap().join("stands-still");
        let script = format!("{done_before}\ntouch '{}'\nsleep 600", mark.display());
        self.replace_program(program, &script).await;
        let order = self.next_order();
        let rebuild = self.rebuild();
        self.rig.peer.begin(&broken, order, rebuild).await;
        let began = now();
        while !mark.exists() {
            assert!(now().since(began) < Duration::from_secs(60), "it never ran");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.mend_programs().await;
    }
}

/// Runs a program as PostgreSQL's user, and expects that it succeeds.
pub fn as_postgres(
    program: &str,
    with: impl FnOnce(&mut std::process::Command) -> &mut std::process::Command,
) {
    use std::os::unix::process::CommandExt;
    let account = Account::named("postgres").unwrap();
    let mut command = std::process::Command::new(program);
    command.uid(account.uid).gid(account.gid).current_dir("/");
    command.stdin(std::process::Stdio::null());
    let output = with(&mut command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {said}");
}
