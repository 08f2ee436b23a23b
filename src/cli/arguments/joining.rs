//! What can be typed to begin an installation, to join it, and to be known in it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::model::AccessRole;
use crate::security::Fingerprint;

/// The word itself, or the first line of the standard input.
pub(super) fn token(word: &str) -> Result<String, std::io::Error> {
    match word {
        "-" => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            Ok(line.trim().to_owned())
        }
        word => Ok(word.to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ServerVerb {
    /// Prepare the first peer of a new installation: authority, certificate, configuration; prints a join token for each
    /// other first peer
    Init {
        /// Where each first peer answers, host:port as the others reach it; this one first. One, three or five
        #[arg(required = true)]
        peers: Vec<String>,
        /// Where this peer keeps its log and its keys
        #[arg(long)]
        folder: PathBuf,
        /// Its failure domain
        #[arg(long)]
        zone: String,
        /// The IP address and port to listen on; that of its first address if left out
        #[arg(long)]
        listen: Option<String>,
        /// Where its configuration is written; printed to the standard output if left out
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Get the certificate and the place of another peer with its join token, without starting it
    Join {
        /// The token; `-` reads it from the standard input, so that no list of processes shows it
        #[arg(value_parser = token)]
        token: String,
        /// Its configuration: zone, folder and listen
        #[arg(long)]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AgentVerb {
    /// Get the certificate of the agent with its join token, without starting it; and have a PostgreSQL taken over that is
    /// there already: shows what would be done, and asks
    ///
    /// PostgreSQL is not restarted, and no data is copied. A primary begins the cluster that was created with it as --first, a
    /// standby that streams from it keeps its data. Run it on the host of the primary first, then on those of its standbys,
    /// and start the agents.
    #[command(before_long_help = "Examples:
  primacy agent join TOKEN --config /etc/primacy/agent.toml
  primacy agent join --config /etc/primacy/agent.toml --yes      it has a certificate; have its database taken over")]
    Join {
        /// The token; `-` reads it from the standard input, so that no list of processes shows it. Needed once, unless the
        /// configuration names certificates of your own
        #[arg(value_parser = token)]
        token: Option<String>,
        /// Its configuration
        #[arg(long)]
        config: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GuestVerb {
    /// The agent of an instance
    Agent {
        /// The cluster, which need not be there yet
        cluster: String,
        /// The instance
        instance: String,
    },
    /// A person, or a program that calls the API
    Tool {
        /// Its name
        name: String,
        /// What it may do in the whole installation: viewer, operator or admin
        #[arg(long, default_value = "viewer")]
        role: AccessRole,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenVerb {
    /// Make a token and print it; nobody can print it again
    Create {
        /// What it is called
        name: String,
        /// What its holder may do: viewer, operator or admin
        #[arg(long)]
        role: AccessRole,
        /// Only in this cluster, which need not be there yet; may be given several times. In the whole installation if left
        /// out, as an admin always is
        #[arg(long)]
        cluster: Vec<String>,
        /// How long it counts
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=400))]
        days: u64,
    },
    /// Every token, without its secret
    List,
    /// Make a token useless: at once for whatever the leader answers, and for what another peer last saw as soon as it hears of it
    Revoke {
        /// What it is called
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CertVerb {
    /// Make an authority for a new installation
    #[command(before_long_help = "Examples:
  primacy cert authority --folder /root/primacy-ca
  primacy cert peer 1 --authority /root/primacy-ca --folder /root/p1
  primacy cert agent main pg-a --authority /root/primacy-ca --folder /root/pg-a
  primacy cert tool grafana --role viewer --authority /root/primacy-ca --folder /root/grafana")]
    Authority {
        /// Where it is put, with its key
        #[arg(long)]
        folder: PathBuf,
        /// The `group` of the peers' configuration, a UUID; drawn if left out
        #[arg(long)]
        group: Option<String>,
    },
    /// Make a certificate for a peer
    Peer {
        /// Its number
        id: u64,
        #[command(flatten)]
        issue: Issue,
    },
    /// Make a certificate for the agent of an instance
    Agent {
        /// The cluster
        cluster: String,
        /// The instance
        instance: String,
        #[command(flatten)]
        issue: Issue,
    },
    /// Make a certificate for a person or a program that calls the API
    Tool {
        /// Its name
        name: String,
        /// What it may do in the whole installation: viewer, operator or admin
        #[arg(long, default_value = "viewer")]
        role: AccessRole,
        #[command(flatten)]
        issue: Issue,
    },
    /// Who holds the keys in a folder, which authorities are trusted there, and which one signs
    Show {
        /// FOLDER/tls of a peer or an agent, or the folder of a tool
        folder: PathBuf,
    },
    /// Trust another authority, too: the first step of a rotation, at every peer
    #[command(
        before_long_help = "A new authority, in four steps, each at every peer before the next one. TLS is the folder tls of that peer; do all
of it as the user that runs the peer (sudo -u primacy …), who must be able to read NEW.
  primacy cert authority --folder NEW --group GROUP   once; GROUP is what primacy cert show TLS says; copy NEW to every peer
  primacy cert trust TLS NEW/authority.pem            also for tools, in their folders, and in the ca.pem beside a token
      then a day goes by, in which all agents renew; at once: SIGHUP to each agent
      primacy cert show FOLDER/tls at every agent must list both, or it is cut off by the next step
  primacy cert sign-with TLS NEW
      then a day goes by, in which all renew; at once: SIGHUP to each peer, then to each agent; tools are invited anew
      primacy cert show must say at every peer and agent that the new one signed the own certificate
  primacy cert distrust TLS OLD-FINGERPRINT
A host that was off meanwhile is invited anew: primacy invite agent CLUSTER INSTANCE, and start it with the new token."
    )]
    Trust {
        /// FOLDER/tls of a peer or an agent, or the folder of a tool
        folder: PathBuf,
        /// A PEM file with certificates of authorities; keys in it are not looked at
        certificates: PathBuf,
    },
    /// Have a peer sign with another authority, which all trust already
    SignWith {
        /// FOLDER/tls of the peer
        folder: PathBuf,
        /// The folder of the authority: authority.pem
        authority: PathBuf,
    },
    /// Trust an authority no more: the last step of a rotation
    Distrust {
        /// FOLDER/tls of a peer or an agent, or the folder of a tool
        folder: PathBuf,
        /// As `primacy cert show` shows it
        #[arg(value_parser = fingerprint)]
        fingerprint: Fingerprint,
    },
}

fn fingerprint(text: &str) -> Result<Fingerprint, &'static str> {
    let wrong = |()| "it is not the fingerprint of a certificate: 64 hexadecimal digits";
    text.parse().map_err(wrong)
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Issue {
    /// The folder of the authority: authority.pem
    #[arg(long)]
    pub authority: PathBuf,
    /// Where ca.pem, certificate.pem and key.pem are put
    #[arg(long)]
    pub folder: PathBuf,
    /// A name or address of the host, for programs that look at it; Primacy does not
    #[arg(long)]
    pub host: Vec<String>,
    /// How long it counts
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    pub days: u64,
}
