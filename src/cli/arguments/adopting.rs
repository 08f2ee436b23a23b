//! What can be typed to have a cluster looked after that there is.

use clap::Args;

#[derive(Debug, Args)]
pub(in crate::cli) struct Adopt {
    /// Where one of its instances answers: host, or host:port if that is not the peers' DefaultInstancePort
    pub host: String,
    /// Where an instance answers that was not found: host or host:port
    #[arg(long, value_name = "HOST:PORT")]
    pub instance: Vec<String>,
    /// Its name; pg- and its system identifier if left out
    #[arg(long)]
    pub name: Option<String>,
    /// `required`: nothing is failed over without agents
    #[arg(long, default_value = "courtesy", value_parser = ["courtesy", "required"])]
    pub fence: String,
    /// Record it although another installation of Primacy looks after it
    #[arg(long)]
    pub insist: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Only show what was found
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}
