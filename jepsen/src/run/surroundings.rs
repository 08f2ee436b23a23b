//! Where clients live and whom they reach: the same for hosts of their own and for loopback.

use crate::expectations::Expectations;
use crate::hosts::Hosts;
use crate::hosts::configuration::CLUSTER;
use crate::hosts::layout::{HEALTH_PORT, Kind, PEER_PORT, WATCH, ZONES};
use crate::nemesis::ground::Ground;
use crate::net::namespace::{Namespace, in_namespace};
use crate::session::Target;
use jepsen::http::Certificate;
use jepsen::workload::status::Endpoint;

/// A place for clients: a host, or this machine itself.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its network; none if it is that of this machine.
    pub namespace: Option<Namespace>,
}

impl Place {
    /// Starts a thread there that runs what `work` makes on a runtime of its own.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn run<T, W, F>(
        &self,
        work: W,
    ) -> std::io::Result<std::thread::JoinHandle<anyhow::Result<T>>>
    where
        T: Send + 'static,
        W: FnOnce() -> F + Send + 'static,
        F: Future<Output = anyhow::Result<T>>,
    {
        if let Some(namespace) = &self.namespace {
            return in_namespace(namespace, work);
        }
        std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(work())
            })
    }
}

/// What a load needs to know.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// One place for clients in each zone.
    pub clients: Vec<Place>,
    /// From where everything can be seen all the time.
    pub watch: Place,
    /// The databases.
    pub targets: Vec<Target>,
    /// The peers.
    pub peers: Vec<Endpoint>,
    /// The agents; none if nobody knows where they answer.
    pub agents: Vec<Endpoint>,
    /// The cluster's name.
    pub cluster: String,
    /// What is expected of the network between all these.
    pub expected: Expectations,
}

impl Surroundings {
    /// Of what is up.
    ///
    /// # Errors
    /// Nothing is up.
    pub fn of(ground: &Ground) -> anyhow::Result<Surroundings> {
        match ground {
            Ground::Hosts(hosts) => Ok(of_hosts(hosts)),
            Ground::Loopback(loopback) => {
                let dev = loopback.dev();
                let here = |name: String| Place {
                    name,
                    namespace: None,
                };
                let peers = dev.peers()?.into_iter();
                Ok(Surroundings {
                    clients: (1..=ZONES).map(|it| here(format!("client{it}"))).collect(),
                    watch: here(WATCH.to_owned()),
                    targets: dev.targets()?,
                    peers: peers
                        .map(|(name, address)| Endpoint {
                            name,
                            address,
                            certificate: dev.certificate().cloned(),
                        })
                        .collect(),
                    agents: vec![],
                    cluster: dev.cluster()?.to_owned(),
                    expected: ground.expectations(),
                })
            }
        }
    }
}

fn of_hosts(hosts: &Hosts) -> Surroundings {
    let place = |name: &str| Place {
        name: name.to_owned(),
        namespace: Some(hosts.namespace(name)),
    };
    let endpoints = |kind, port, certificate: Option<&Certificate>| {
        let hosts = hosts.layout().of(kind);
        let endpoints = hosts.map(|host| Endpoint {
            name: host.name.clone(),
            address: format!("{}:{port}", host.address),
            certificate: certificate.cloned(),
        });
        endpoints.collect()
    };
    let clients = hosts.layout().names(Kind::Client);
    Surroundings {
        clients: clients.iter().map(|name| place(name)).collect(),
        watch: place(WATCH),
        targets: hosts.targets(),
        peers: endpoints(Kind::Peer, PEER_PORT, Some(hosts.certificate())),
        agents: endpoints(Kind::Node, HEALTH_PORT, None),
        cluster: CLUSTER.to_owned(),
        expected: hosts.network().expectations(),
    }
}
