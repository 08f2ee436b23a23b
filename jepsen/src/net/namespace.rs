//! A network namespace and what runs inside it.
//!
//! A namespace belongs to a thread, and a process starts in that of the thread that started it. So everything
//! that works inside one gets a thread of its own; no thread ever comes back from one.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread::JoinHandle;

use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command;

/// Where `ip netns` keeps them.
pub const FOLDER: &str = "/run/netns";

/// A named network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// The one with this name; it need not exist.
    pub fn named(name: &str) -> Namespace {
        Namespace(name.to_owned())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Moves the calling thread into it, for good.
    ///
    /// # Errors
    /// There is none of that name, or the caller is not root.
    pub fn enter(&self) -> anyhow::Result<()> {
        let path = PathBuf::from(FOLDER).join(&self.0);
        let file =
            std::fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
        use std::os::fd::AsFd;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("enter {}", self.0))
    }

    /// Starts a thread inside it.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<anyhow::Result<T>>> {
        let namespace = self.clone();
        std::thread::Builder::new()
            .name(self.0.clone())
            .spawn(move || namespace.enter().map(|()| work()))
    }

    /// Starts a process inside it.
    ///
    /// # Errors
    /// It cannot be entered, or the program cannot be started.
    pub fn spawn(&self, mut command: Command) -> anyhow::Result<Child> {
        let what = format!("start {command:?} in {}", self.0);
        let child = self.thread(move || command.spawn())?;
        joined(child)?.with_context(|| what)
    }

    /// Runs a tool inside it to its end; answers with what it printed.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn run(&self, command: Command) -> anyhow::Result<String> {
        self.run_with(command, "")
    }

    /// [`Namespace::run`] with `input` as the tool's standard input.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn run_with(&self, mut command: Command, input: &str) -> anyhow::Result<String> {
        let input = input.to_owned();
        joined(self.thread(move || command::run(&mut command, &input))?)?
    }
}

/// Starts a thread inside `namespace` that runs what `work` makes on a runtime of its own.
///
/// # Errors
/// The system has no thread left.
pub fn in_namespace<T, W, F>(
    namespace: &Namespace,
    work: W,
) -> io::Result<JoinHandle<anyhow::Result<T>>>
where
    T: Send + 'static,
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let namespace = namespace.clone();
    std::thread::Builder::new()
        .name(namespace.0.clone())
        .spawn(move || {
            namespace.enter()?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(work())
        })
}

/// What the thread answers; its panic goes on here.
///
/// # Errors
/// The thread's.
pub fn joined<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    match thread.join() {
        Ok(answer) => answer,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
