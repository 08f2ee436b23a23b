//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::dev::DevVerb;
use crate::model::Lsn;

mod adopting;
mod clusters;
mod joining;
mod operating;
mod peers;
mod preflight;

pub(super) use adopting::Adopt;
pub(super) use clusters::{ClusterVerb, NewCluster, NewDurability};
pub(super) use joining::{AgentVerb, CertVerb, GuestVerb, Issue, ServerVerb, TokenVerb};
pub(super) use operating::{BlockPeriod, Explained, Hold, InstanceVerb, Pause, Switchover};
pub(super) use peers::{ChangePeers, PeersVerb, SnapshotVerb};
pub(super) use preflight::Preflight;

#[derive(Debug, Parser)]
#[command(
    name = "primacy",
    version,
    about = "High availability for PostgreSQL: one primary, always.",
    after_long_help = super::exit_codes(),
    before_long_help = "Examples:
  primacy dev up                         three peers and three PostgreSQL servers on this machine
  primacy status                         what every cluster does, and why
  psql \"$(primacy primary --dsn)\"        connect to the primary
  primacy history                        what happened, and how long it took
  primacy dev kill a                     kill the node a and watch what happens"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub reach: Reach,
    #[command(subcommand)]
    pub verb: Verb,
}

/// How the peers are reached. A bearer token is read from the variable PRIMACY_TOKEN alone: what is typed can be seen by
/// others of the host.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// Addresses of peers, host:port, separated by commas or spaces; a running `dev` is found by itself
    #[arg(long, global = true, env = "PRIMACY_API")]
    pub api: Option<String>,
    /// A folder with ca.pem, certificate.pem and key.pem; ca.pem is enough beside a token in PRIMACY_TOKEN
    #[arg(long, global = true, env = "PRIMACY_TLS", value_name = "FOLDER")]
    pub tls: Option<PathBuf>,
}

/// What is read of kept WAL.
#[derive(Debug, Args)]
pub(super) struct Salvage {
    /// The folder that was kept: of WAL, or of old data
    pub folder: PathBuf,
    /// The timeline of the place to begin at; noted in a folder of kept WAL
    #[arg(long, requires = "from")]
    pub timeline: Option<u32>,
    /// The place to begin at
    #[arg(long, requires = "timeline", value_name = "LSN")]
    pub from: Option<Lsn>,
    /// The folder with pg_waldump; else that of the version of the data, or wherever programs are
    #[arg(long, value_name = "FOLDER")]
    pub binaries: Option<PathBuf>,
    #[arg(long, short, value_enum, default_value = "table")]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// The API's own schema.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// What the clusters do, and why
    ///
    /// Without a leader it shows what some peer last saw, says so in a WARN line above it, and ends with 5.
    #[command(before_long_help = "Examples:
  primacy status
  primacy status orders --output json")]
    Status {
        /// Only this cluster
        cluster: Option<String>,
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
    /// What is wrong with the clusters, since when, and what to do about it
    ///
    /// Ends with 8 if there is anything, with 0 if there is nothing.
    #[command(before_long_help = "Examples:
  primacy problems
  primacy problems orders || echo \"look at orders\"
  primacy problems --output json")]
    Problems {
        /// Only this cluster
        cluster: Option<String>,
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
    /// Which peer leads
    #[command(before_long_help = "Examples:
  primacy leader
  primacy --api 10.0.0.1:7001,10.0.0.2:7001 leader")]
    Leader {
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
    /// All peers, each asked now; works without a leader. Or: change who they are
    #[command(before_long_help = "Examples:
  primacy peers
  primacy peers add 10.0.0.4:7001        prints a token: start the new peer with it, as `join` in its configuration
  primacy peers promote 4                once it has caught up
  primacy peers remove 2                 for example one that is dead
  primacy peers snapshot save /backup/peers-1 --folder /var/lib/primacy/peer")]
    Peers {
        #[command(subcommand)]
        verb: Option<PeersVerb>,
        #[arg(long, short, value_enum, default_value = "table", global = true)]
        output: Output,
    },
    /// Where the primary of a cluster is
    #[command(before_long_help = "Examples:
  primacy primary
  psql \"$(primacy primary orders --dsn)&user=app&dbname=app\"")]
    Primary {
        /// May be left out if there is one cluster
        cluster: Option<String>,
        /// Print a connection string that finds the primary by itself; it ends with 1 while there is none, and with 5 if
        /// nobody knows, and prints it then, too, as far as it is known
        #[arg(long)]
        dsn: bool,
        #[arg(
            long,
            short,
            value_enum,
            default_value = "table",
            conflicts_with = "dsn"
        )]
        output: Output,
    },
    /// What happened to a cluster, newest first
    #[command(before_long_help = "Examples:
  primacy history
  primacy history orders --output json")]
    History {
        /// May be left out if there is one cluster
        cluster: Option<String>,
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
    /// What is in the WAL that was kept of an old primary: how many rows of which relation, and which commits
    ///
    /// On the host of that instance, as root or as PostgreSQL's user. Where it is kept, `primacy history --output json` says.
    /// Nothing is changed.
    #[command(before_long_help = "Examples:
  primacy salvage /var/lib/postgresql/orders.wal-20260414T093000250Z
  primacy salvage /var/lib/postgresql/orders.old-20260414T093000250Z --timeline 2 --from 0/5000148")]
    Salvage(Salvage),
    /// Create, adopt and forget clusters
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Make a standby the primary, in order: nothing acknowledged is lost, and if it cannot be done the old primary goes on
    ///
    /// The primary is shut down once the standby is near, and comes back as its standby. Without agents it is only asked to
    /// be quiet, and stays read-only by courtesy: stop it, and rebuild it as a standby.
    #[command(before_long_help = "Examples:
  primacy switchover orders                                 to whoever can be
  primacy switchover orders --to s1 --reason \"kernel patch\"
  primacy switchover orders --to s1 --wait 10m              also if it is behind now
  primacy switchover orders --cancel                        while it waits")]
    Switchover(Switchover),
    /// What would happen if the primary died now, or if a switchover were asked for: to whom, what would be lost, what is in the
    /// way
    #[command(before_long_help = "Examples:
  primacy explain failover orders
  primacy explain switchover orders --output json")]
    Explain {
        /// Which
        #[arg(value_enum)]
        what: Explained,
        /// May be left out if there is one cluster
        cluster: Option<String>,
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
    /// Have a primary elected although nobody can prove that it holds everything that was acknowledged
    ///
    /// Only for a cluster with agents whose primary is gone and whose failover waits for others that do not come back: it is
    /// refused everywhere else. Without --accept-loss it says what would be lost. It waits until every lease has ended, and for
    /// half a minute for those who are slow to answer; nobody is elected who holds less than was said.
    #[command(before_long_help = "Examples:
  primacy failover orders --reason \"zone eu-a is gone\"
  primacy failover orders --reason \"zone eu-a is gone\" --accept-loss")]
    Failover {
        /// The cluster
        cluster: String,
        /// What cannot be proven to be held elsewhere may be lost
        #[arg(long)]
        accept_loss: bool,
        /// What must not be lost: all up to this position, as it was said without --accept-loss; what is known now if left out
        #[arg(long, value_name = "POSITION", requires = "accept_loss")]
        up_to: Option<String>,
        /// Say that the host of the old primary is off, or those of the standbys that may back it: asked for where that cannot
        /// be told
        #[arg(long, requires = "accept_loss")]
        old_is_off: bool,
        /// Why; the history keeps it
        #[arg(long)]
        reason: String,
        /// Whose word it is
        #[arg(long, env = "USER", default_value = "somebody")]
        owner: String,
    },
    /// Begin nothing by itself until it ends, in one cluster or in all: problems are found and shown, and that is all
    ///
    /// What has begun goes on, and so do leases and fencing: a primary that loses its lease stops all the same. A switchover
    /// is refused, because the old primary would not be brought back; without agents it is done.
    #[command(before_long_help = "Examples:
  primacy pause orders --for 2h --reason \"kernel patch\"
  primacy pause --for 30m --reason \"network work\"          every cluster")]
    Pause(Pause),
    /// End the pause of a cluster; the one of all clusters if none is named
    Resume {
        /// Which
        cluster: Option<String>,
    },
    /// Let a failover of a cluster keep another one off for so long, unless somebody acknowledges it with primacy ack
    ///
    /// What somebody asks for is not kept off. At the beginning nothing is: a failover with a quorum loses nothing.
    #[command(before_long_help = "Examples:
  primacy block orders --for 1h
  primacy block orders --off")]
    Block {
        /// Which
        cluster: String,
        #[command(flatten)]
        period: BlockPeriod,
    },
    /// Acknowledge the last failover of a cluster, so that another one may follow within the block period
    #[command(before_long_help = "Examples:
  primacy ack orders --comment \"the switch of rack 4 was rebooted\"")]
    Ack {
        /// Which
        cluster: String,
        /// What of it; kept in its history
        #[arg(long)]
        comment: String,
        /// Who says so
        #[arg(long, env = "USER", default_value = "somebody")]
        owner: String,
    },
    /// Put an instance into downtime, or say whether it shall be promoted
    #[command(subcommand)]
    Instance(InstanceVerb),
    /// Three peers and three PostgreSQL servers on this machine, to try and to break
    #[command(subcommand)]
    Dev(DevVerb),
    /// Run a peer; or prepare one
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        before_long_help = "Examples:
  primacy server --config /etc/primacy/server.toml
  primacy server init --folder /var/lib/primacy/peer --zone z1 --config /etc/primacy/server.toml \\
      10.0.0.1:7001 10.0.0.2:7001 10.0.0.3:7001      on the first host; prints join tokens for the others"
    )]
    Server {
        #[command(subcommand)]
        verb: Option<ServerVerb>,
        /// Its configuration
        #[arg(long, required = true)]
        config: Option<PathBuf>,
    },
    /// Run the agent of one PostgreSQL server; or prepare one
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        before_long_help = "Examples:
  primacy agent --config /etc/primacy/agent.toml
  primacy agent join TOKEN --config /etc/primacy/agent.toml"
    )]
    Agent {
        #[command(subcommand)]
        verb: Option<AgentVerb>,
        /// Its configuration
        #[arg(long, required = true)]
        config: Option<PathBuf>,
    },
    /// Invite an agent or a tool: print the token with which it gets its certificate, once, within an hour
    #[command(before_long_help = "Examples:
  primacy invite agent main pg-a      give it to the agent as `join`, or: primacy agent join TOKEN --config …
  primacy invite tool laptop --role admin")]
    Invite {
        #[command(subcommand)]
        guest: GuestVerb,
        #[arg(long, short, value_enum, default_value = "table", global = true)]
        output: Output,
    },
    /// Get the certificate of a tool with its join token
    Join {
        /// The token that `primacy invite tool` printed; `-` reads it from the standard input, so that no list of processes
        /// shows it
        #[arg(value_parser = joining::token)]
        token: String,
        /// The name in the invitation
        #[arg(long)]
        name: String,
        /// Where ca.pem, certificate.pem and key.pem are put; for --tls and PRIMACY_TLS
        #[arg(long)]
        folder: PathBuf,
    },
    /// The tokens of people and their programs
    #[command(before_long_help = "Examples:
  primacy token create grafana --role viewer --days 365     prints the token, once
  primacy token create ci --role operator --cluster orders
  primacy token list
  primacy token revoke grafana")]
    Token {
        #[command(subcommand)]
        verb: TokenVerb,
        #[arg(long, short, value_enum, default_value = "table", global = true)]
        output: Output,
    },
    /// Certificates by hand: for those who distribute them themselves
    #[command(subcommand)]
    Cert(CertVerb),
    /// Print the SQL that gives a role the rights to look after PostgreSQL 15 or later, without superuser
    #[command(before_long_help = "Examples:
  primacy grants | psql -d postgres")]
    Grants {
        /// The role, which must exist
        #[arg(long, default_value = "primacy")]
        role: String,
    },
    /// What a PostgreSQL server lacks for being looked after over SQL, each with the line that mends it
    ///
    /// Ends with 3 if something is needed; a HINT is none.
    #[command(before_long_help = "Examples:
  primacy preflight db1.example --password-file ~/.pgpass
  primacy preflight 10.0.0.1:5433 --user watcher --ssl-mode verify-full --ssl-root-cert ca.pem")]
    Preflight(Preflight),
    /// Hold a primary to its lease; started by the agent
    #[command(hide = true)]
    Leash(LeashArguments),
}

#[derive(Debug, Args)]
pub(super) struct LeashArguments {
    /// The Unix socket to listen on
    #[arg(long)]
    pub socket: PathBuf,
    /// The data folder whose processes are killed
    #[arg(long)]
    pub data: PathBuf,
    /// A deadline to hold from the start, CLOCK_BOOTTIME in milliseconds
    #[arg(long)]
    pub deadline: Option<u64>,
}

impl From<LeashArguments> for crate::leash::Args {
    fn from(arguments: LeashArguments) -> Self {
        crate::leash::Args {
            socket: arguments.socket,
            data: arguments.data,
            deadline: arguments.deadline.map(crate::model::Timestamp),
        }
    }
}
