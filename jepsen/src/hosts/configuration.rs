//! The configuration files of peers and agents: text, made of values.

use std::path::{Path, PathBuf};

use crate::expectations::Network;

use super::layout::{DATABASE_PORT, HEALTH_PORT, Host, Kind, Layout, PEER_PORT};

/// The cluster's name.
pub const CLUSTER: &str = "orders";
/// The application's role.
pub const APPLICATION: &str = "app";

/// Where a peer, whose disk is mounted at `home`, keeps its log.
pub fn log_folder(home: &Path) -> PathBuf {
    home.join("raft")
}

/// The file of a first peer, whose disk is mounted at `home`. `group` is a UUID in hexadecimal digits.
pub fn server(layout: &Layout, host: &Host, home: &Path, group: &str, network: Network) -> String {
    let number = |host: &Host| host.name.trim_start_matches('p').to_owned();
    let peers: Vec<_> = layout
        .of(Kind::Peer)
        .map(|peer| format!("{} = \"{}:{PEER_PORT}\"", number(peer), peer.address))
        .collect();
    format!(
        "id = {}\ngroup = \"{group}\"\n{}{}\n[peers]\n{}\n",
        number(host),
        place(host, home, network),
        tls(home),
        peers.join("\n")
    )
}

/// The file of a peer that joins with a token, which brings it its certificate.
pub fn newcomer(host: &Host, home: &Path, network: Network, token: &str) -> String {
    format!("join = \"{token}\"\n{}", place(host, home, network))
}

fn place(host: &Host, home: &Path, network: Network) -> String {
    let network = match network {
        Network::Lan => "lan",
        Network::Wan => "wan",
    };
    format!(
        "network = \"{network}\"\nzone = \"z{}\"\nfolder = \"{}\"\nlisten = \"{}:{PEER_PORT}\"\n",
        host.zone,
        log_folder(home).display(),
        host.address,
    )
}

/// Where the certificates of a host lie.
fn tls(home: &Path) -> String {
    let folder = home.join("certificates");
    let folder = folder.display();
    format!(
        "tls = {{ca = \"{folder}/ca.pem\", certificate = \"{folder}/certificate.pem\", key = \"{folder}/key.pem\"}}\n"
    )
}

/// The file of an agent, whose disk is mounted at `home`.
pub fn agent(layout: &Layout, host: &Host, home: &Path) -> String {
    let peers: Vec<_> = layout
        .peers()
        .iter()
        .map(|peer| format!("\"{peer}\""))
        .collect();
    let tls = tls(home);
    let (home, address) = (home.display(), host.address);
    format!(
        "cluster = \"{CLUSTER}\"\ninstance = \"{}\"\npeers = [{}]\n\
         folder = \"{home}/agent\"\ndata = \"{home}/data\"\nhost = \"{address}\"\nport = {DATABASE_PORT}\n\
         health = \"{address}:{HEALTH_PORT}\"\n{tls}\n\
         [replication]\npassword_file = \"{home}/replication.password\"\n\n\
         [application]\nuser = \"{APPLICATION}\"\npassword_file = \"{home}/application.password\"\n",
        host.name,
        peers.join(", "),
    )
}

/// The arguments of `primacy cluster create`.
pub fn create(layout: &Layout, durability: &str) -> Vec<String> {
    let mut arguments: Vec<String> = ["cluster", "create", CLUSTER, "--durability", durability]
        .map(str::to_owned)
        .into();
    for host in layout.of(Kind::Node) {
        arguments.push("--member".to_owned());
        arguments.push(format!(
            "{}={}:{DATABASE_PORT}/{HEALTH_PORT}@z{}",
            host.name, host.address, host.zone
        ));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_name_the_addresses_of_the_hosts() {
        let layout = Layout::new(3);
        let text = server(
            &layout,
            &layout.all()[1],
            Path::new("/x/p2"),
            "00ff",
            Network::Wan,
        );
        assert!(text.starts_with(
            "id = 2\ngroup = \"00ff\"\nnetwork = \"wan\"\nzone = \"z2\"\nfolder = \"/x/p2/raft\""
        ));
        assert!(text.contains("3 = \"198.51.100.3:7001\""));
        let text = agent(&layout, layout.host("a").unwrap(), Path::new("/x/a"));
        assert!(text.contains("host = \"198.51.100.4\"\nport = 5432\n"));
        assert_eq!(
            create(&layout, "async").last().unwrap(),
            "c=198.51.100.6:5432/8008@z3"
        );
    }
}
