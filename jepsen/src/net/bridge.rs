//! A bridge in a namespace of its own, one port for each host, and rules of nftables on the ports.
//!
//! Each port has a chain at its ingress, before the bridge sees a frame, with rules for the links of its host. The rules
//! are replaced as one. Ports learn and flood nothing: who has which address is set at the start, and a frame for many
//! goes nowhere, as with the switch. What is lost and doubled is drawn by the kernel, not by the seed.

use std::fmt::Write;
use std::process::Command;

use super::matrix::Matrix;
use super::namespace::Namespace;
use super::owner::Owner;
use super::plane::Carrier;
use super::switch::INTERFACE;
use super::{batch, hardware, of};

/// The last part of the name of the bridge's namespace; no host is called so.
const PLACE: &str = "bridge";
const TABLE: &str = "netdev jepsen";
/// The kernel draws a number below this; losses are counted in millionths.
const MILLION: u32 = 1_000_000;

/// The bridge. It goes with its namespace, which is removed by its owner's name.
#[derive(Debug)]
pub struct Bridge {
    namespace: Namespace,
    hosts: Vec<String>,
}

impl Bridge {
    /// Makes one between the namespaces of `hosts`, which have their interface when this returns.
    ///
    /// # Errors
    /// A tool fails: the kernel may have no veth pairs, bridges or hooks at ingress.
    pub fn start(owner: Owner, hosts: &[String]) -> anyhow::Result<Bridge> {
        let namespace = of(owner, PLACE);
        batch(
            &["-batch", "-"],
            &format!("netns add {}\n", namespace.name()),
        )?;
        let mut links =
            "link add name bridge type bridge stp_state 0 mcast_snooping 0\nlink set bridge up\n"
                .to_owned();
        let mut addresses = String::new();
        let mut chains = format!("table {TABLE} {{\n");
        for (number, host) in (1..).zip(hosts) {
            let inside = of(owner, host);
            // Made where it belongs: nothing of it is ever in the namespace of this machine.
            links += &format!(
                "link add name port{number} type veth peer name {INTERFACE} netns {}\n\
                 link set port{number} master bridge\n\
                 link set port{number} type bridge_slave learning off flood off mcast_flood off bcast_flood off\n\
                 link set port{number} up\n",
                inside.name()
            );
            addresses += &format!(
                "fdb add {} dev port{number} master static\n",
                hardware(number)
            );
            chains += &format!(
                "chain from{number} {{ type filter hook ingress device \"port{number}\" priority 0; }}\n"
            );
        }
        chains += "}\n";
        batch(&["-n", namespace.name(), "-batch", "-"], &links)?;
        let mut bridge = Command::new("bridge");
        bridge.args(["-batch", "-"]);
        namespace.run_with(bridge, &addresses)?;
        for host in hosts {
            // Else the kernel would lose up to 64 KiB as if it were one frame.
            let one_by_one = format!("link set {INTERFACE} gso_max_segs 1\n");
            batch(&["-n", of(owner, host).name(), "-batch", "-"], &one_by_one)?;
        }
        let bridge = Bridge {
            namespace,
            hosts: hosts.to_vec(),
        };
        bridge.load(&chains)?;
        Ok(bridge)
    }

    fn load(&self, text: &str) -> anyhow::Result<()> {
        let mut nft = Command::new("nft");
        nft.args(["-f", "-"]);
        self.namespace.run_with(nft, text).map(|_| ())
    }
}

impl Carrier for Bridge {
    fn set(&self, matrix: &Matrix) -> anyhow::Result<()> {
        self.load(&rules(&self.hosts, matrix))
    }
}

/// In place of all rules: those that make the links like `matrix`.
fn rules(hosts: &[String], matrix: &Matrix) -> String {
    let mut text = format!("flush table {TABLE}\n");
    for (from, sender) in (1..).zip(hosts) {
        for (to, receiver) in (1..).zip(hosts) {
            let link = matrix.between(sender, receiver);
            let address = hardware(to);
            let mut rule = |what: &str| {
                writeln!(
                    text,
                    "add rule {TABLE} from{from} ether daddr {address} {what}"
                )
                .expect("a string takes everything");
            };
            if link.cut {
                rule("drop");
                continue;
            }
            if link.loss_ppm > 0 {
                rule(&format!(
                    "numgen random mod {MILLION} < {} drop",
                    link.loss_ppm
                ));
            }
            if link.duplicate_ppm > 0 {
                let twice = link.duplicate_ppm;
                rule(&format!(
                    "numgen random mod {MILLION} < {twice} dup to \"port{to}\""
                ));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::matrix::Quality;

    #[test]
    fn a_rule_stands_at_the_port_of_the_sender() {
        let hosts = ["a", "b", "c"].map(str::to_owned);
        let lossy = Quality {
            loss_ppm: 50_000,
            duplicate_ppm: 10_000,
            ..Quality::default()
        };
        let matrix = Matrix::default()
            .one_way(&["a"], &["b"], Quality::CUT.and(lossy))
            .both_ways(&["b"], &["c"], lossy);
        assert_eq!(
            rules(&hosts, &matrix),
            "flush table netdev jepsen\n\
             add rule netdev jepsen from1 ether daddr 02:00:00:00:00:02 drop\n\
             add rule netdev jepsen from2 ether daddr 02:00:00:00:00:03 numgen random mod 1000000 < 50000 drop\n\
             add rule netdev jepsen from2 ether daddr 02:00:00:00:00:03 numgen random mod 1000000 < 10000 dup to \"port3\"\n\
             add rule netdev jepsen from3 ether daddr 02:00:00:00:00:02 numgen random mod 1000000 < 50000 drop\n\
             add rule netdev jepsen from3 ether daddr 02:00:00:00:00:02 numgen random mod 1000000 < 10000 dup to \"port2\"\n"
        );
        assert_eq!(
            rules(&hosts, &Matrix::default()),
            "flush table netdev jepsen\n"
        );
    }
}
