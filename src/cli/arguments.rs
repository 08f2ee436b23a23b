//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::dev::DevVerb;

mod adopting;
mod joining;
mod operating;
mod peers;

pub(super) use adopting::Adopt;
pub(super) use joining::{AgentVerb, CertVerb, GuestVerb, Issue, ServerVerb, TokenVerb};
pub(super) use operating::{BlockPeriod, Hold, InstanceVerb, Pause};
pub(super) use peers::{ChangePeers, PeersVerb, SnapshotVerb};

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
    /// Create, adopt and forget clusters
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Make a standby of a cluster without agents the primary: the old one is asked to be quiet first
    ///
    /// The old primary stays read-only by courtesy; stop it, and rebuild it as a standby.
    #[command(before_long_help = "Examples:
  primacy switchover orders --to s1")]
    Switchover {
        /// The cluster
        cluster: String,
        /// Who shall be the primary
        #[arg(long)]
        to: String,
    },
    /// Begin nothing by itself until it ends, in one cluster or in all: problems are found and shown, and that is all
    ///
    /// What has begun goes on, and so do leases and fencing: a primary that loses its lease stops all the same. What somebody
    /// asks for is done.
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

/// Whom to ask, and as whom.
#[derive(Debug, Args)]
pub(super) struct Preflight {
    /// host or host:port
    pub host: String,
    /// The role to sign in as
    #[arg(long, default_value = "primacy")]
    pub user: String,
    /// libpq's password file
    #[arg(long, env = "PGPASSFILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The database to sign in to
    #[arg(long, default_value = "postgres")]
    pub database: String,
    /// disable, require, verify-ca or verify-full
    #[arg(long, env = "PGSSLMODE", default_value = "require")]
    pub ssl_mode: String,
    /// Authorities that the server's certificate is verified with
    #[arg(long, env = "PGSSLROOTCERT", value_name = "FILE")]
    pub ssl_root_cert: Option<PathBuf>,
    /// A certificate of one's own
    #[arg(long, env = "PGSSLCERT", value_name = "FILE", requires = "ssl_key")]
    pub ssl_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, env = "PGSSLKEY", value_name = "FILE", requires = "ssl_cert")]
    pub ssl_key: Option<PathBuf>,
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

#[derive(Debug, Subcommand)]
pub(super) enum ClusterVerb {
    /// Record a new cluster; its first instance is initialised, the others are cloned from it
    #[command(before_long_help = "Examples:
  primacy cluster create orders --durability quorum:1 \\
      --member a=10.0.0.1:5432/8008@z1 --member b=10.0.0.2:5432/8008@z2 --member c=10.0.0.3:5432/8008@z3")]
    Create(NewCluster),
    /// Look after a cluster that there is, over SQL alone: shows what was found, and asks
    ///
    /// No database is changed, and none is restarted. The peers sign in as their table [postgresql] says.
    #[command(before_long_help = "Examples:
  primacy cluster adopt db1.example
  primacy cluster adopt 10.0.0.1:5432 --name orders --instance 10.0.0.3:5440 --yes")]
    Adopt(Adopt),
    /// Look after a cluster without agents no longer; no database is touched
    Forget {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct NewCluster {
    /// Its name
    pub name: String,
    /// `quorum:K`, a commit waits for K standbys, or `async`
    #[arg(long, default_value = "quorum:1")]
    pub durability: String,
    /// `strict`: a failover also waits until nobody can read from the old primary: 2.5 s, between distant peers 10.5 s, longer while
    /// its agent is stopped on purpose
    #[arg(long, default_value = "fast", value_parser = ["fast", "strict"])]
    pub reads: String,
    /// An instance: NAME=HOST:PORT/HEALTHPORT@ZONE
    #[arg(long, required = true)]
    pub member: Vec<String>,
    /// The one that is initialised; the first member if left out
    #[arg(long)]
    pub first: Option<String>,
}
