//! One host as a machine: its disk, its processes, its clock.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::ensure;
use rustix::process::Signal;

use super::control_group::ControlGroup;
use super::process::{self, Part, Process};
use crate::disk::{Disk, fsync};
use crate::net::namespace::Namespace;

/// Where Debian puts libfaketime.
const FAKETIME: &str = "faketime/libfaketime.so.1";
/// Enters the group, then becomes the program; nothing runs outside the group for a moment.
const ENTER: &str = "echo $$ >\"$0/cgroup.procs\" && exec \"$@\"";

/// A host with a disk and one program that it runs.
#[derive(Debug)]
pub struct Machine {
    /// Its network.
    pub namespace: Namespace,
    /// Every process of it.
    pub group: ControlGroup,
    /// Where its program works.
    pub disk: Disk,
    /// How its syncs are made to fail.
    pub fsync: fsync::Switch,
    /// Its wall clock; none if that cannot be set wrong.
    pub clock: Option<WallClock>,
    /// What it runs.
    pub program: Program,
    child: Option<Child>,
}

/// The wall clock of every process of a machine: a file that libfaketime reads once a second.
#[derive(Debug, Clone)]
pub struct WallClock(PathBuf);

impl WallClock {
    /// Right, until it is set.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(file: PathBuf) -> anyhow::Result<WallClock> {
        let clock = WallClock(file);
        clock.set(0.0)?;
        Ok(clock)
    }

    /// Ahead of the truth by so many seconds, behind it if negative.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, ahead: f64) -> anyhow::Result<()> {
        // Whole, or a reader would see half of it.
        let draft = self.0.with_extension("new");
        fs::write(&draft, format!("{ahead:+.3}"))?;
        Ok(fs::rename(draft, &self.0)?)
    }
}

/// What a machine runs.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary `primacy`.
    pub binary: PathBuf,
    /// `server` or `agent`.
    pub verb: &'static str,
    /// Its configuration.
    pub configuration: PathBuf,
    /// Where it works.
    pub home: PathBuf,
    /// What it says.
    pub log: PathBuf,
    /// The user and group that it runs as.
    pub account: (u32, u32),
    /// What it finds in its environment besides.
    pub environment: Vec<(&'static str, String)>,
}

impl Machine {
    /// Nothing runs yet.
    pub fn new(
        namespace: Namespace,
        group: ControlGroup,
        disk: Disk,
        fsync: fsync::Switch,
        clock: Option<WallClock>,
        program: Program,
    ) -> Machine {
        Machine {
            namespace,
            group,
            disk,
            fsync,
            clock,
            program,
            child: None,
        }
    }

    /// Starts its program, which must not run.
    ///
    /// # Errors
    /// It runs already or cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.collect();
        ensure!(self.child.is_none(), "{} runs", self.program.verb);
        let Program {
            binary,
            verb,
            configuration,
            home,
            log,
            account: (user, group),
            environment: _,
        } = &self.program;
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new("sh");
        command.args(["-c", ENTER]).arg(self.group.folder());
        command.arg("setpriv").args([
            format!("--reuid={user}"),
            format!("--regid={group}"),
            "--clear-groups".to_owned(),
            "env".to_owned(),
        ]);
        for (name, value) in self.environment() {
            command.arg(format!("{name}={value}"));
        }
        command
            .arg(binary)
            .arg(verb)
            .arg("--config")
            .arg(configuration)
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(self.namespace.spawn(command)?);
        Ok(())
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let own = |path: &Path| path.to_string_lossy().into_owned();
        let mut preloaded = own(&self.fsync.library);
        let mut all = vec![
            ("HOME", own(&self.program.home)),
            ("JEPSEN_FSYNC_FAILS", own(&self.fsync.prefix)),
        ];
        if let (Some(clock), Some(library)) = (&self.clock, faketime()) {
            preloaded = format!("{} {preloaded}", own(&library));
            all.push(("FAKETIME_TIMESTAMP_FILE", own(&clock.0)));
            // Seconds.
            all.push(("FAKETIME_CACHE_DURATION", "1".to_owned()));
            // A real kernel's monotonic clocks never jump.
            all.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()));
        }
        all.push(("LD_PRELOAD", preloaded));
        all.extend(self.program.environment.iter().cloned());
        all
    }

    /// Starts its program unless it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_if_down(&mut self) -> anyhow::Result<()> {
        if self.is_running() {
            return Ok(());
        }
        self.start()
    }

    /// Whether its program runs.
    pub fn is_running(&mut self) -> bool {
        self.collect();
        self.child.is_some()
    }

    /// Forgets the program if it has ended.
    fn collect(&mut self) {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            self.child = None;
        }
    }

    /// Sends a signal to a part; answers how many processes took it.
    pub fn signal(&self, part: Part, signal: Signal) -> usize {
        let pids = self.group.processes();
        let all: Vec<_> = pids.into_iter().filter_map(Process::read).collect();
        process::signal(&process::of(part, &all), signal)
    }

    /// Kills every process; the kernel says farewell to its connections.
    ///
    /// # Errors
    /// Some process does not end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.group.kill()?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// The disk goes first, so that nothing that happens while the processes die is kept.
    ///
    /// # Errors
    /// The disk or a process survives.
    pub fn cut_power(&mut self) -> anyhow::Result<()> {
        self.disk.cut_power()?;
        self.kill()
    }
}

/// The library that fakes the wall clock; none if it is not installed.
pub fn faketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = places
        .map(|place| place.path().join(FAKETIME))
        .filter(|library| library.exists());
    found.next()
}
