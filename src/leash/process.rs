//! The process itself: a clock, a socket and one deadline.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::protocol::{Expiry, Hold, Reply, Request};
use super::{Args, Error, on};
use crate::host::{self, Place, processes};
use crate::model::Timestamp;
use crate::{broken, clock};

/// How many conversations are open at once; the oldest is dropped for one more.
const MOST_CLIENTS: usize = 16;
/// The longest line that is listened to.
const LONGEST_LINE: usize = 64;
/// How long one round of killing lasts before it is reported as slow and begun anew.
const ROUND: Duration = Duration::from_secs(1);

/// Serves until the end of the process; returns only with an error at the start. Blocks, and needs
/// a thread (in the product: a process) of its own.
/// Errors: [`Error::Taken`], [`Error::OpenFolder`], [`Error::Io`].
pub fn run(args: &Args) -> Result<(), Error> {
    let (listener, _lock) = listen(&args.socket)?;
    let mut leash = Leash {
        // Symbolic links are resolved now: the data disk may be stuck when it matters.
        place: Place::of(&args.data),
        hold: args.deadline.map_or(Hold::None, Hold::Armed),
    };
    if args.deadline.is_some() {
        leash.place.pin();
    }
    // The kernel should sacrifice anything else first. Needs root; without it we are merely small.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let timer = timerfd_create(
        TimerfdClockId::Boottime,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )
    .map_err(|error| on("create a timer for", &args.socket)(error.into()))?;
    let mut clients: Vec<Conversation> = Vec::new();
    loop {
        // The clock comes first after every wait, however long it really was.
        leash.expire_if_due();
        set(&timer, leash.hold).map_err(on("set the timer of", &args.socket))?;
        let ready =
            wait(&listener, &timer, &clients).map_err(on("wait for a word at", &args.socket))?;
        leash.expire_if_due();
        let mut index = 0;
        clients.retain_mut(|client| {
            index += 1;
            !ready.clients[index - 1] || client.serve(&mut leash)
        });
        if ready.listener
            && let Ok((stream, _)) = listener.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            if clients.len() == MOST_CLIENTS {
                clients.remove(0);
            }
            clients.push(Conversation {
                stream,
                heard: Vec::new(),
            });
        }
    }
}

struct Leash {
    place: Place,
    hold: Hold,
}

impl Leash {
    /// Kills until nothing is left, if the deadline has passed. Returns only then: no renewal is
    /// heard in between.
    fn expire_if_due(&mut self) {
        let Hold::Armed(deadline) = self.hold else {
            return;
        };
        if clock::boottime() < deadline {
            return;
        }
        if broken!(LeaseEnd) {
            self.hold = Hold::None;
            return;
        }
        let mut killed = 0;
        loop {
            match self.kill_all() {
                Ok(done) => {
                    killed += done.processes;
                    break;
                }
                Err(error) => {
                    report(&format!("deadline {}: still killing: {error}", deadline.0));
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        let expiry = Expiry {
            deadline,
            ended: clock::boottime(),
            processes: killed,
        };
        self.hold = Hold::Expired(expiry);
        self.place.unpin();
        report(&format!(
            "expired at {}, {killed} processes, took {} ms",
            deadline.0,
            expiry.ended.since(deadline).as_millis()
        ));
    }

    fn kill_all(&self) -> host::Result<processes::Killed> {
        #[cfg(feature = "mutants")]
        if broken!(LeashKillsAll) {
            return self.kill_postmaster();
        }
        processes::kill_all(&self.place, ROUND)
    }

    /// What a leash must never be content with.
    #[cfg(feature = "mutants")]
    fn kill_postmaster(&self) -> host::Result<processes::Killed> {
        let postmaster = processes::postmaster(&self.place)?;
        let is_killed = postmaster.is_some_and(|it| {
            processes::signal(&self.place, it.pid, rustix::process::Signal::KILL)
        });
        Ok(processes::Killed {
            processes: usize::from(is_killed),
            took: Duration::ZERO,
        })
    }

    fn answer(&mut self, request: Request) -> Reply {
        self.expire_if_due();
        match request {
            Request::State => Reply::Hold(self.hold),
            Request::Arm(deadline) | Request::Exchange(deadline)
                if deadline <= clock::boottime() =>
            {
                Reply::Refused(format!("deadline {} has passed", deadline.0))
            }
            Request::Arm(deadline) | Request::Exchange(deadline) => {
                let held = match self.hold {
                    Hold::Armed(_) if request == Request::Exchange(deadline) => deadline,
                    Hold::Armed(held) => held.max(deadline),
                    Hold::None | Hold::Expired(_) => {
                        // May wait for the disk, and may do so only here: no deadline is held yet, and this
                        // one does not count before it is echoed.
                        self.place.pin();
                        deadline
                    }
                };
                self.hold = Hold::Armed(held);
                Reply::Hold(self.hold)
            }
            Request::Disarm => match processes::check_none_alive(&self.place) {
                Ok(()) => {
                    self.hold = Hold::None;
                    self.place.unpin();
                    Reply::Hold(self.hold)
                }
                Err(error) => Reply::Refused(error.to_string()),
            },
        }
    }
}

struct Conversation {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Conversation {
    /// Reads what is there and answers whole lines; `false` when the conversation is over.
    fn serve(&mut self, leash: &mut Leash) -> bool {
        let mut bytes = [0; LONGEST_LINE];
        match self.stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => self.heard.extend_from_slice(&bytes[..count]),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        while let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            let reply = match String::from_utf8_lossy(&line).parse() {
                Ok(request) => leash.answer(request),
                Err(()) => {
                    Reply::Refused("say: arm <ms>, exchange <ms>, state or disarm".to_owned())
                }
            };
            // A client that does not read its answers is not waited for.
            if self
                .stream
                .write_all(format!("{reply}\n").as_bytes())
                .is_err()
            {
                return false;
            }
        }
        self.heard.len() <= LONGEST_LINE
    }
}

struct Ready {
    listener: bool,
    clients: Vec<bool>,
}

fn wait(listener: &UnixListener, timer: &OwnedFd, clients: &[Conversation]) -> io::Result<Ready> {
    let mut fds = vec![
        PollFd::new(listener, PollFlags::IN),
        PollFd::new(timer, PollFlags::IN),
    ];
    fds.extend(
        clients
            .iter()
            .map(|it| PollFd::new(&it.stream, PollFlags::IN)),
    );
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    Ok(Ready {
        listener: is_ready(&fds[0]),
        clients: fds[2..].iter().map(is_ready).collect(),
    })
}

/// The timer runs on CLOCK_BOOTTIME like the deadline: it fires right after a suspend, where a
/// timeout of `poll` would wait on.
fn set(timer: &OwnedFd, hold: Hold) -> io::Result<()> {
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let at = match hold {
        Hold::Armed(Timestamp(ms)) => Timespec {
            tv_sec: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
            tv_nsec: (ms % 1_000 * 1_000_000) as _,
        },
        Hold::None | Hold::Expired(_) => zero,
    };
    let once = Itimerspec {
        it_interval: zero,
        it_value: at,
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &once)?;
    Ok(())
}

/// Creates a folder for this user alone; `false` if it was there.
pub(super) fn create_private(folder: &Path) -> Result<bool, Error> {
    if folder.exists() {
        return Ok(false);
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(folder)
        .map_err(on("create folder", folder))?;
    Ok(true)
}

fn listen(socket: &Path) -> Result<(UnixListener, File), Error> {
    let folder = socket.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        created.map_err(on("create folder", folder))?;
    }
    let mode = fs::metadata(folder).map_err(on("look at", folder))?.mode();
    if mode & 0o077 != 0 {
        return Err(Error::OpenFolder {
            folder: folder.to_owned(),
        });
    }
    let lock_path = socket.with_extension("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(on("open", &lock_path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(Error::Taken {
                socket: socket.to_owned(),
            });
        }
        Err(error) => return Err(on("lock", &lock_path)(error.into())),
    }
    // Left over from a leash that died: the lock proves that nobody listens.
    match fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(on("remove", socket)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(on("listen on", socket))?;
    listener
        .set_nonblocking(true)
        .map_err(on("listen on", socket))?;
    Ok((listener, lock))
}

/// To stderr, which [`super::spawn`] sends to a file. A full disk must not stop the killing.
fn report(what: &str) {
    let _ = writeln!(io::stderr(), "{} leash: {what}", clock::wall_text());
}
