//! A Raft group whose peers know each other by certificates alone.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use primacy::clock::wall_millis;
use primacy::model::{ClusterName, InstanceId, PeerId};
use primacy::security::{CertificateAuthority, Credentials, Expected, Tls, Who};
use raft::{
    Config, Consensus, GroupId, Newborn, ProposeError, RecordError, Role, StateMachine, Timing,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const GROUP: GroupId = GroupId::from_bytes(*b"a group of peers");
/// Nothing these tests wait for takes longer on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Counts.
#[derive(Debug, Clone, Default)]
struct Count(u64);

impl StateMachine for Count {
    type Command = ();
    type Reply = u64;

    fn apply(&mut self, _index: u64, _command: ()) -> u64 {
        self.0 += 1;
        self.0
    }

    fn encode(&self) -> Vec<u8> {
        raft::seal(&self.0).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        raft::unseal(bytes, raft::MAX_SNAPSHOT_BYTES).map(Count)
    }
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate(GROUP, wall_millis()).unwrap()
}

fn credentials(
    signer: &CertificateAuthority,
    who: Who,
    trusted: &[&CertificateAuthority],
) -> Credentials {
    let issued = signer.issue(who, &[], wall_millis()).unwrap();
    let trusted: Vec<_> = trusted.iter().map(|a| a.certificate().clone()).collect();
    Credentials::new(GROUP, issued, &trusted, wall_millis()).unwrap()
}

fn peer(id: u64) -> Who {
    Who::Peer(PeerId(id))
}

/// Three peers in one process.
struct Group {
    peers: BTreeMap<u64, Running>,
    addresses: BTreeMap<u64, String>,
    folder: tempfile::TempDir,
}

struct Running {
    consensus: Consensus<Count>,
    tls: Tls,
    /// Aborted when dropped.
    server: JoinSet<()>,
}

impl Group {
    /// Peer `id` shows and trusts what `signer(id)` gives it.
    async fn start(signer: impl Fn(u64) -> Credentials) -> Group {
        let mut listeners = vec![];
        for id in 1..=3 {
            listeners.push((id, TcpListener::bind("127.0.0.1:0").await.unwrap()));
        }
        let address =
            |(id, listener): &(u64, TcpListener)| (*id, listener.local_addr().unwrap().to_string());
        let mut group = Group {
            peers: BTreeMap::new(),
            addresses: listeners.iter().map(address).collect(),
            folder: tempfile::tempdir().unwrap(),
        };
        // Together: a group begins when all its first members are up.
        let started = listeners
            .into_iter()
            .map(|(id, listener)| group.run(id, listener, signer(id)));
        let started = join_all(started).await;
        group.peers = (1..).zip(started).collect();
        group
    }

    async fn run(&self, id: u64, listener: TcpListener, credentials: Credentials) -> Running {
        let tls = Tls::new(credentials);
        let config = Config {
            id,
            beginning: 0,
            group: GROUP,
            folder: self.folder.path().join(id.to_string()),
            members: self.addresses.clone(),
            timing: Timing::lan(),
            transport: Arc::new(tls.clone()),
            snapshot_every: 5000,
            keep_before_snapshot: 1000,
        };
        let newborn = Newborn::open(config).unwrap();
        let started = Consensus::start_on(&listener, newborn, Count::default());
        let consensus = timeout(DEADLINE, started).await.unwrap().unwrap();
        let mut server = JoinSet::new();
        let served = consensus.clone();
        server.spawn(async move { served.serve_on(&listener, std::future::pending()).await });
        Running {
            consensus,
            tls,
            server,
        }
    }

    /// The same peer over the same folder, with other credentials.
    async fn restart(&mut self, id: u64, credentials: Credentials) {
        let mut before = self.peers.remove(&id).unwrap();
        before.server.shutdown().await;
        before.consensus.shutdown().await;
        let listening = async {
            loop {
                match TcpListener::bind(&self.addresses[&id]).await {
                    Ok(listener) => return listener,
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let listener = timeout(DEADLINE, listening).await.unwrap();
        let running = self.run(id, listener, credentials).await;
        self.peers.insert(id, running);
    }

    /// Has one command applied through whoever leads.
    async fn count(&self) -> u64 {
        let counted = async {
            loop {
                for peer in self.peers.values() {
                    match peer.consensus.propose(()).await {
                        Ok(applied) => return applied.reply,
                        Err(ProposeError::NotLeader { .. } | ProposeError::Unknown) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, counted).await.unwrap()
    }

    async fn stop(self) {
        for peer in self.peers.into_values() {
            peer.consensus.shutdown().await;
        }
    }
}

/// What peer 1 answers to a vote of peer `claimed` that comes over `stream`.
async fn vote(mut stream: impl AsyncRead + AsyncWrite + Unpin, claimed: u64) -> String {
    let call = format!(
        "POST /raft/v1/vote HTTP/1.1\r\nhost: peer\r\nconnection: close\r\nraft-protocol: 3\r\nraft-beginning: 0\r\nraft-group: {GROUP}\r\n\
         raft-from: {claimed}\r\nraft-to: 1\r\nraft-election-max: 400\r\ncontent-length: 0\r\n\r\n"
    );
    let mut answer = vec![];
    // Whoever is not wanted is cut off, which may be an error of either.
    let _ = stream.write_all(call.as_bytes()).await;
    let _ = stream.flush().await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn only_peers_of_this_group_are_answered() {
    let (ours, theirs) = (authority(), authority());
    let group = Group::start(|id| credentials(&ours, peer(id), &[&ours])).await;
    assert!(group.count().await >= 1);

    let agent = Who::Agent {
        cluster: ClusterName::new("demo").unwrap(),
        instance: InstanceId::new("a").unwrap(),
    };
    let address = &group.addresses[&1];
    let connect = || async { TcpStream::connect(address).await.unwrap() };
    let known = |who| Tls::new(credentials(&ours, who, &[&ours]));
    let anonymous = Credentials::anonymous(GROUP, &[ours.certificate().clone()]).unwrap();
    for (caller, claimed, expected) in [
        (known(peer(2)), 2, "HTTP/1.1 400"),
        (known(peer(2)), 3, "HTTP/1.1 403"),
        (known(agent), 2, "HTTP/1.1 403"),
        (Tls::new(anonymous), 2, "HTTP/1.1 403"),
        // Of another authority, although it says the right words; cut off without a word.
        (
            Tls::new(credentials(&theirs, peer(2), &[&theirs, &ours])),
            2,
            "",
        ),
    ] {
        let stream = caller.connect(connect().await, Expected::Exactly(peer(1)));
        let answer = vote(stream.await.unwrap(), claimed).await;
        let is_expected = match expected {
            "" => answer.is_empty(),
            status => answer.starts_with(status),
        };
        assert!(is_expected, "{caller:?} as {claimed}: {answer:?}");
    }
    let plain = vote(connect().await, 2).await;
    assert!(!plain.contains("HTTP/1.1"), "{plain:?}");
    group.stop().await;
}

#[tokio::test]
async fn a_peer_of_another_installation_does_not_take_part() {
    let (ours, theirs) = (authority(), authority());
    let mut group = Group::start(|id| credentials(&ours, peer(id), &[&ours])).await;
    let before = group.count().await;
    // Its folder and its words are those of peer 3; what signed its certificate is not.
    let stranger = credentials(&theirs, peer(3), &[&theirs, &ours]);
    group.restart(3, stranger).await;
    let mut counted = 0;
    for _ in 0..20 {
        counted = group.count().await;
    }
    let stranger = &group.peers[&3].consensus;
    assert_ne!(stranger.status().role, Role::Leader);
    assert!(stranger.read(|count| count.0) <= before);
    assert!(counted >= before + 20);
    group.stop().await;
}

#[tokio::test]
async fn the_authority_is_exchanged_while_proposals_go_on() {
    let (old, new) = (authority(), authority());
    let both = [&old, &new];
    let group = Group::start(|id| credentials(&old, peer(id), &[&old])).await;
    let mut counted = group.count().await;
    let steps: [&dyn Fn(u64) -> Credentials; 3] = [
        &|id| credentials(&old, peer(id), &both),
        &|id| credentials(&new, peer(id), &both),
        &|id| credentials(&new, peer(id), &[&new]),
    ];
    for step in steps {
        for (id, peer) in &group.peers {
            peer.tls.replace(step(*id));
            let next = group.count().await;
            assert!(next > counted);
            counted = next;
        }
    }
    // New connections too: a new leader makes its own.
    let leads = |id: &u64| group.peers[id].consensus.status().role == Role::Leader;
    let settled = async {
        loop {
            if let Some(leader) = group.peers.keys().copied().find(|id| leads(id)) {
                let other = leader % 3 + 1;
                if group.peers[&leader]
                    .consensus
                    .transfer_leadership(other)
                    .await
                    .is_ok()
                {
                    return;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, settled).await.unwrap();
    assert!(group.count().await > counted);
    group.stop().await;
}
