//! The switch: one process that holds a TAP interface in every host's namespace and carries the frames between
//! them. Nothing of it appears in the namespace of this machine.
//!
//! It ends when its standard input does, so that it never outlives whoever started it. Over its socket it takes
//! one matrix a connection, one line of JSON, and answers with its counts once every link is like that.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::forwarding::{Counts, Forwarding, Verdict};
use super::matrix::Matrix;
use super::namespace::Namespace;
use crate::{clock, sys};

/// The name of the interface in each host.
pub const INTERFACE: &str = "eth0";
/// More than any frame of an interface with the usual MTU.
const LARGEST_FRAME: usize = 2048;
/// How many frames of one host are taken before the others have their turn.
const TURN: usize = 64;
/// A matrix is written and read at once; whoever is slower is given up, so that frames do not wait.
const TALK_WITHIN: Duration = Duration::from_millis(500);

/// What the switch is started with.
#[derive(Debug, Args)]
pub struct Options {
    /// Where it takes commands
    #[arg(long)]
    pub socket: PathBuf,
    /// Decides what is lost, doubled and late
    #[arg(long)]
    pub seed: u64,
    /// HOST=NAMESPACE, in the order of their addresses
    #[arg(required = true)]
    pub hosts: Vec<String>,
}

/// Serves until standard input ends. Blocks; the calling thread is left in another namespace.
///
/// # Errors
/// An interface or the socket cannot be made, or the kernel refuses to wait.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut names = vec![];
    let mut taps = vec![];
    for pair in &options.hosts {
        let (host, namespace) = pair.split_once('=').context("write HOST=NAMESPACE")?;
        Namespace::named(namespace).enter()?;
        taps.push(sys::open_tap(INTERFACE).with_context(|| format!("open the TAP of {host}"))?);
        names.push(host.to_owned());
    }
    let listener = UnixListener::bind(&options.socket).context("bind the switch's socket")?;
    let mut forwarding = Forwarding::new(names, options.seed);
    while let Some(ready) = wait(&taps, &listener, forwarding.next_at())? {
        while let Some((to, frame)) = forwarding.due(clock::now()) {
            hand_over(&taps[to], &frame);
        }
        for from in ready.taps {
            carry(&taps, from, &mut forwarding);
        }
        if ready.listener
            && let Ok((stream, _)) = listener.accept()
            && let Err(error) = obey(&stream, &mut forwarding)
        {
            eprintln!("switch: {error:#}");
        }
    }
    Ok(())
}

struct Ready {
    taps: Vec<usize>,
    listener: bool,
}

/// Until something can be read or `next_at`; nothing once standard input has ended.
fn wait(
    taps: &[OwnedFd],
    listener: &UnixListener,
    next_at: Option<clock::Moment>,
) -> io::Result<Option<Ready>> {
    let stdin = io::stdin();
    let mut sources: Vec<_> = taps
        .iter()
        .map(|tap| PollFd::new(tap, PollFlags::IN))
        .collect();
    sources.push(PollFd::new(listener, PollFlags::IN));
    sources.push(PollFd::new(&stdin, PollFlags::IN));
    let left = next_at.map(|at| at.since(clock::now()));
    let left = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    match poll(&mut sources, left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let is_ready = |number: usize| !sources[number].revents().is_empty();
    if is_ready(taps.len() + 1) {
        return Ok(None);
    }
    Ok(Some(Ready {
        taps: (0..taps.len()).filter(|tap| is_ready(*tap)).collect(),
        listener: is_ready(taps.len()),
    }))
}

/// Takes what host `from` has sent.
fn carry(taps: &[OwnedFd], from: usize, forwarding: &mut Forwarding) {
    let mut buffer = [0; LARGEST_FRAME];
    for _ in 0..TURN {
        let Ok(length) = rustix::io::read(&taps[from], &mut buffer) else {
            return;
        };
        match forwarding.arrive(clock::now(), from, &buffer[..length]) {
            Verdict::Now(to) => hand_over(&taps[to], &buffer[..length]),
            Verdict::Nothing => {}
        }
    }
}

/// A host that cannot take a frame loses it, as a network card does.
fn hand_over(tap: &OwnedFd, frame: &[u8]) {
    let _ = rustix::io::write(tap, frame);
}

fn obey(stream: &UnixStream, forwarding: &mut Forwarding) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(TALK_WITHIN))?;
    stream.set_write_timeout(Some(TALK_WITHIN))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let matrix: Matrix = serde_json::from_str(&line).context("read a matrix")?;
    forwarding.set(&matrix);
    let mut answer = serde_json::to_vec(&forwarding.counts())?;
    answer.push(b'\n');
    let mut stream = stream;
    Ok(stream.write_all(&answer)?)
}

/// Makes the links of the switch at `socket` like `matrix`; they are when this returns.
///
/// # Errors
/// No switch listens there, or it does not answer in time.
pub fn command(socket: &Path, matrix: &Matrix) -> anyhow::Result<Counts> {
    let mut stream = UnixStream::connect(socket).context("reach the switch")?;
    stream.set_read_timeout(Some(TALK_WITHIN * 4))?;
    let mut line = serde_json::to_vec(matrix)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    ensure!(!answer.is_empty(), "the switch refuses the matrix");
    Ok(serde_json::from_str(&answer)?)
}
