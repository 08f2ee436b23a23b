//! `primacy dev`: three peers and three agents with real PostgreSQL on loopback, in three pretend zones.
//!
//! Everything lives in one folder, with `dev.json` naming it all. Nothing is restarted by `dev` itself:
//! what was killed stays dead until it is started. The group is reached through the CLI's own verbs.

mod credentials;
mod ending;
pub(crate) mod layout;
mod machine;
mod nodes;
mod plan;
pub mod ports;
mod processes;
mod up;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use layout::Layout;

/// The verbs of `primacy dev`.
#[derive(Debug, Subcommand)]
pub enum DevVerb {
    /// Start everything; Ctrl-C takes it down again, and so does the end of the terminal
    #[command(before_long_help = "Examples:
  primacy dev up
  primacy dev up --no-view --durability async
  primacy dev kill a; primacy status; primacy dev start a")]
    Up {
        /// Where it lives
        #[command(flatten)]
        place: Place,
        /// Return as soon as everything streams, and leave it running
        #[arg(long)]
        no_view: bool,
        /// `quorum:K`, a commit waits for K standbys, or `async`
        #[arg(long, default_value = "quorum:1")]
        durability: String,
        /// How many PostgreSQL servers
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(plan::MOST_MEMBERS)))]
        members: u8,
    },
    /// What runs, and where
    Status {
        /// Where it lives
        #[command(flatten)]
        place: Place,
    },
    /// Kill every process of a node with SIGKILL
    #[command(before_long_help = "Examples:
  primacy dev kill a
  primacy dev kill a --only postmaster
  primacy dev kill p1")]
    Kill {
        /// Where it lives
        #[command(flatten)]
        place: Place,
        /// a, b, c … or p1, p2, p3
        node: String,
        /// Only this part of an instance's node
        #[arg(long, value_enum)]
        only: Option<Part>,
    },
    /// Start the peer or agent of a node again
    Start {
        /// Where it lives
        #[command(flatten)]
        place: Place,
        /// a, b, c … or p1, p2, p3
        node: String,
    },
    /// Stop every process of a node with SIGSTOP, as a host that hangs
    Freeze {
        /// Where it lives
        #[command(flatten)]
        place: Place,
        /// a, b, c … or p1, p2, p3
        node: String,
        /// Only this part of an instance's node
        #[arg(long, value_enum)]
        only: Option<Part>,
    },
    /// Let a frozen node go on
    Thaw {
        /// Where it lives
        #[command(flatten)]
        place: Place,
        /// a, b, c … or p1, p2, p3
        node: String,
    },
    /// Kill everything and remove the folder
    Down {
        /// Where it lives
        #[command(flatten)]
        place: Place,
    },
}

/// Where a `dev` lives.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Its folder
    #[arg(long, env = "PRIMACY_DEV")]
    folder: Option<PathBuf>,
}

/// A part of an instance's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// PostgreSQL's first process.
    Postmaster,
    /// Every process of PostgreSQL.
    Postgres,
    /// The agent.
    Agent,
}

/// Why a verb of `dev` failed.
#[derive(Debug)]
pub struct DevError {
    /// Whether nothing was changed because what was asked for makes no sense here.
    pub is_usage: bool,
    /// One sentence.
    pub text: String,
    /// The next step.
    pub hint: Option<String>,
}

impl DevError {
    fn usage(text: impl Into<String>, hint: impl Into<String>) -> DevError {
        DevError {
            is_usage: true,
            text: text.into(),
            hint: Some(hint.into()),
        }
    }

    fn failed(text: impl Into<String>) -> DevError {
        DevError {
            is_usage: false,
            text: text.into(),
            hint: None,
        }
    }
}

/// Of stdout.
impl From<std::io::Error> for DevError {
    fn from(error: std::io::Error) -> DevError {
        DevError::failed(format!("cannot write the output: {error}"))
    }
}

impl Place {
    fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(default_folder)
    }
}

fn default_folder() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    PathBuf::from(format!("/tmp/primacy-dev-{user}"))
}

/// Runs one verb.
///
/// # Errors
/// [`DevError`].
pub fn run(verb: DevVerb) -> Result<(), DevError> {
    match verb {
        DevVerb::Up {
            place,
            no_view,
            durability,
            members,
        } => up::up(&place.folder(), no_view, &durability, members),
        DevVerb::Status { place } => nodes::status(&load(&place.folder())?),
        DevVerb::Kill { place, node, only } => nodes::kill(&load(&place.folder())?, &node, only),
        DevVerb::Start { place, node } => nodes::start(&load(&place.folder())?, &node),
        DevVerb::Freeze { place, node, only } => {
            nodes::freeze(&load(&place.folder())?, &node, only)
        }
        DevVerb::Thaw { place, node } => nodes::thaw(&load(&place.folder())?, &node),
        DevVerb::Down { place } => nodes::down(&load(&place.folder())?),
    }
}

fn load(folder: &Path) -> Result<Layout, DevError> {
    Layout::load(folder).ok_or_else(|| {
        DevError::usage(
            format!("no dev runs in {}", folder.display()),
            "primacy dev up, or name its folder with --folder or PRIMACY_DEV",
        )
    })
}

fn found() -> Option<Layout> {
    let folder = std::env::var_os("PRIMACY_DEV").map(PathBuf::from);
    Layout::load(&folder.unwrap_or_else(default_folder))
}

/// A `dev` of this user, as its verbs find it.
#[derive(Debug)]
pub struct RunningDev {
    /// The addresses of its peers.
    pub peers: Vec<String>,
    /// The folder with the certificate of its owner, who may do everything.
    pub tls: PathBuf,
}

/// The `dev` of this user; none if there is none.
pub fn running() -> Option<RunningDev> {
    found().map(|layout| RunningDev {
        peers: layout.peers(),
        tls: layout.tls(),
    })
}

/// The connection string of the cluster of a `dev` of this user; of `cluster`, if one is named.
pub fn dsn_of(cluster: Option<&str>) -> Option<String> {
    found()
        .filter(|layout| cluster.is_none_or(|cluster| layout.cluster == cluster))
        .map(|layout| layout.dsn)
}
