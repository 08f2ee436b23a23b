//! The verbs of the one binary. They reach a group only through its HTTP API, at any peer.
//!
//! Data goes to stdout, messages to stderr (`output`). Exit codes are stable: see [`Exit`].

mod adopt;
mod answer;
mod api;
mod arguments;
mod cert;
mod daemons;
mod database;
mod durability;
mod joining;
#[cfg(feature = "mutants")]
mod mutant;
mod offering;
mod operate;
mod owner;
mod peers;
mod problems;
mod question;
mod render;
mod salvage;
mod snapshot;
mod switch;
mod token;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Runtime;

use crate::http::failovers::FailoverBody;
use crate::output;

use arguments::{AgentVerb, Arguments, ClusterVerb, PeersVerb, Verb};

/// How a verb failed, as the exit code says it. The codes are stable; [`Exit::meaning`] says each in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The verb did not do what it should.
    Failed = 1,
    /// What was typed or configured cannot work.
    Usage = 2,
    /// A precondition does not hold.
    Refused = 3,
    /// What was named is not there.
    NotFound = 4,
    /// The peers cannot answer.
    NoQuorum = 5,
    /// Not done yet.
    StillRunning = 6,
    /// Taken already.
    Conflict = 7,
    /// Something is wrong with a cluster.
    Problems = 8,
}

impl Exit {
    /// All of them, in the order of their codes.
    const ALL: [Exit; 8] = [
        Exit::Failed,
        Exit::Usage,
        Exit::Refused,
        Exit::NotFound,
        Exit::NoQuorum,
        Exit::StillRunning,
        Exit::Conflict,
        Exit::Problems,
    ];

    /// What the code says, in words for `primacy --help` and the README.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Failed => "failed, without effect; also: no primary at the moment",
            Exit::Usage => "usage or configuration; nothing was changed",
            Exit::Refused => "refused by a precondition",
            Exit::NotFound => "there is no such thing",
            Exit::NoQuorum => "no peer could be reached, or no majority of them",
            Exit::StillRunning => "still under way when the time was over",
            Exit::Conflict => "something else holds it",
            Exit::Problems => "`problems` found some",
        }
    }
}

/// What code 0 says.
const DONE: &str = "done; `status` says so whatever state it shows";

/// Every exit code in a line of its own.
fn exit_codes() -> String {
    let failed = Exit::ALL.map(|exit| (exit as u8, exit.meaning()));
    let codes = [(0, DONE)].into_iter().chain(failed);
    let lines: Vec<_> = codes
        .map(|(code, what)| format!("  {code}  {what}"))
        .collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// Why a verb failed: one sentence, perhaps a hint, and the exit code.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong.
    pub text: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure {
            exit,
            text: text.into(),
            hint: None,
        }
    }
}

/// Of stdout.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure {
            exit: Exit::Failed,
            text: format!("cannot write the output: {error}"),
            hint: Some("what was asked for is done; look at where the output goes".to_owned()),
        }
    }
}

/// Parses the arguments and runs the verb.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_help = !error.use_stderr();
            // A closed pipe is the reader's choice.
            let _ = error.print();
            return if is_help {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(Exit::Usage as u8)
            };
        }
    };
    let result = run(arguments);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(format_args!("error: {}", failure.text));
            if let Some(hint) = &failure.hint {
                output::say(format_args!("hint: {hint}"));
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    #[cfg(feature = "mutants")]
    mutant::take()?;
    let reach = arguments.reach;
    match arguments.verb {
        Verb::Server {
            verb: Some(verb), ..
        } => joining::server(verb),
        Verb::Agent {
            verb: Some(AgentVerb::Join { token, config, yes }),
            ..
        } => offering::agent(token.as_deref(), &config, yes),
        Verb::Server { verb: None, config } => daemons::server(&named(config)?),
        Verb::Agent { verb: None, config } => daemons::agent(&named(config)?),
        Verb::Invite { guest, output } => {
            asked(joining::invite(api::Api::find(reach)?, guest, output))
        }
        Verb::Join {
            token,
            name,
            folder,
        } => joining::tool(&token, &name, &folder),
        Verb::Cert(verb) => cert::run(verb),
        Verb::Grants { role } => database::grants(&role),
        Verb::Preflight(asked_for) => asked(database::preflight(asked_for)),
        Verb::Token { verb, output } => asked(token::run(api::Api::find(reach)?, verb, output)),
        Verb::Leash(arguments) => daemons::leash(&arguments.into()),
        Verb::Dev(dev) => crate::dev::run(dev).map_err(|error| Failure {
            exit: match error.is_usage {
                true => Exit::Usage,
                false => Exit::Failed,
            },
            text: error.text,
            hint: error.hint,
        }),
        Verb::Status { cluster, output } => {
            asked(verbs::status(api::Api::find(reach)?, cluster, output))
        }
        Verb::Problems { cluster, output } => {
            asked(problems::problems(api::Api::find(reach)?, cluster, output))
        }
        Verb::Leader { output } => asked(verbs::leader(api::Api::find(reach)?, output)),
        Verb::Peers { verb: None, output } => asked(verbs::peers(api::Api::find(reach)?, output)),
        Verb::Peers {
            verb: Some(PeersVerb::Snapshot(verb)),
            output,
        } => asked(snapshot::run(verb, output)),
        Verb::Peers {
            verb: Some(PeersVerb::Change(verb)),
            output,
        } => asked(peers::change(api::Api::find(reach)?, verb, output)),
        Verb::Primary {
            cluster,
            dsn,
            output,
        } => asked(verbs::primary(api::Api::find(reach)?, cluster, dsn, output)),
        Verb::History { cluster, output } => {
            asked(verbs::history(api::Api::find(reach)?, cluster, output))
        }
        Verb::Salvage(asked_for) => salvage::run(&asked_for),
        Verb::Cluster(ClusterVerb::Create(new)) => {
            asked(verbs::create(api::Api::find(reach)?, new))
        }
        Verb::Cluster(ClusterVerb::Durability(new)) => {
            asked(durability::change(api::Api::find(reach)?, new))
        }
        Verb::Cluster(ClusterVerb::Adopt(adoption)) => {
            asked(adopt::adopt(api::Api::find(reach)?, adoption))
        }
        Verb::Cluster(ClusterVerb::Priority { name, priority }) => {
            asked(operate::priority(api::Api::find(reach)?, &name, priority))
        }
        Verb::Cluster(ClusterVerb::Forget { name, yes }) => {
            asked(adopt::forget(api::Api::find(reach)?, &name, yes))
        }
        Verb::Pause(pause) => asked(operate::pause(api::Api::find(reach)?, pause)),
        Verb::Resume { cluster } => asked(operate::resume(api::Api::find(reach)?, cluster)),
        Verb::Block { cluster, period } => {
            asked(operate::block(api::Api::find(reach)?, &cluster, &period))
        }
        Verb::Ack {
            cluster,
            comment,
            owner,
        } => {
            let api = api::Api::find(reach)?;
            asked(operate::acknowledge(api, &cluster, owner, comment))
        }
        Verb::Instance(verb) => asked(operate::instance(api::Api::find(reach)?, verb)),
        Verb::Explain {
            what,
            cluster,
            output,
        } => {
            let api = api::Api::find(reach)?;
            asked(switch::explain(api, what, cluster, output))
        }
        Verb::Failover {
            cluster,
            accept_loss,
            up_to,
            old_is_off,
            reason,
            owner,
        } => {
            let body = FailoverBody {
                accept_loss,
                up_to,
                old_is_off,
                owner,
                reason,
            };
            asked(switch::failover(api::Api::find(reach)?, &cluster, body))
        }
        Verb::Switchover(asked_for) => asked(switch::switchover(api::Api::find(reach)?, asked_for)),
    }
}

/// The configuration, which clap requires where no verb follows.
fn named(config: Option<PathBuf>) -> Result<PathBuf, Failure> {
    config.ok_or_else(|| Failure::new(Exit::Usage, "name the configuration with --config"))
}

fn asked(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    runtime()?.block_on(verb)
}

/// How long work on files may hold the end of the process up; a disk that hangs would do so for ever.
const LAST_WORK_WITHIN: Duration = Duration::from_secs(1);

/// A runtime that ends within [`LAST_WORK_WITHIN`], also after a panic.
struct Runner(Option<Runtime>);

impl Runner {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = self.0.as_ref().expect("it is there until the drop");
        runtime.block_on(future)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(LAST_WORK_WITHIN);
        }
    }
}

fn runtime() -> Result<Runner, Failure> {
    built(tokio::runtime::Builder::new_multi_thread().enable_all())
}

/// That of a peer: what it does is short and waits for others, so that handing it from thread to thread takes longer than
/// doing it. One thread made a linearizable read a third faster, and commits a quarter, also with 64 proposers.
fn runtime_of_peer() -> Result<Runner, Failure> {
    built(tokio::runtime::Builder::new_current_thread().enable_all())
}

fn built(builder: &mut tokio::runtime::Builder) -> Result<Runner, Failure> {
    builder
        .build()
        .map(|runtime| Runner(Some(runtime)))
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_every_exit_code() {
        let readme = include_str!("../../README.md");
        for line in exit_codes().lines() {
            assert!(readme.contains(line), "README.md lacks: {line}");
        }
    }
}
