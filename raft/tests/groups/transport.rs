//! Transports of the caller's own: what they prove is what counts, and a slow one is waited for.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::peers::{Command, GROUP, Peers};
use raft::{Accepting, Connecting, Plain, Stream, Transport, VerifiedPeer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Each connection begins with the number of who calls, and is believed. Zero is nobody.
#[derive(Debug)]
struct Told(u64);

impl Transport for Told {
    fn connect(&self, to: u64, address: String) -> Connecting<'_> {
        Box::pin(async move {
            let mut stream = Plain.connect(to, address).await?;
            stream.write_u64(self.0).await?;
            Ok(stream)
        })
    }

    fn accept(&self, mut stream: TcpStream) -> Accepting<'_> {
        Box::pin(async move {
            let caller = stream.read_u64().await?;
            let caller = (caller != 0).then_some(VerifiedPeer(caller));
            Ok((Box::new(stream) as Box<dyn Stream>, caller))
        })
    }

    fn verifies(&self) -> bool {
        true
    }
}

/// What peer 1 answers somebody who is `proven` and says to be `claimed`.
async fn answer(address: &str, proven: u64, claimed: u64) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_u64(proven).await.unwrap();
    let call = format!(
        "POST /raft/v1/vote HTTP/1.1\r\nhost: peer\r\nconnection: close\r\nraft-protocol: 3\r\nraft-group: {GROUP}\r\nraft-beginning: 0\r\n\
         raft-from: {claimed}\r\nraft-to: 1\r\nraft-election-max: 400\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(call.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn nobody_speaks_for_another_peer() {
    let peers = Peers::start_with(3, |config| config.transport = Arc::new(Told(config.id)));
    peers.add(7);
    peers.all_have(vec![7]);
    let address = peers.config(1).members[&1].clone();
    let ask = |proven, claimed| peers.wait(answer(&address, proven, claimed));
    for (proven, claimed, status, why) in [
        (3, 2, "403", "peer 3 calls as peer 2"),
        (0, 2, "403", "nothing proves that this is peer 2"),
        // Let in, and then told that its body is no vote.
        (2, 2, "400", ""),
    ] {
        let answer = ask(proven, claimed);
        let head = format!("HTTP/1.1 {status}");
        assert!(
            answer.starts_with(&head) && answer.contains(why),
            "{answer}"
        );
    }
}

/// Takes longer to connect than a heartbeat may take.
#[derive(Debug)]
struct Slow;

const SLOW: Duration = Duration::from_millis(150);

impl Transport for Slow {
    fn connect(&self, to: u64, address: String) -> Connecting<'_> {
        Box::pin(async move {
            tokio::time::sleep(SLOW).await;
            Plain.connect(to, address).await
        })
    }

    fn accept(&self, stream: TcpStream) -> Accepting<'_> {
        Plain.accept(stream)
    }

    fn verifies(&self) -> bool {
        false
    }
}

#[test]
fn a_connection_slower_than_a_heartbeat_is_made_nevertheless() {
    let mut peers = Peers::start_with(3, |config| {
        config.transport = Arc::new(Slow);
        assert!(SLOW > config.timing.heartbeat);
    });
    peers.add(1);
    peers.all_have(vec![1]);
    let leader = peers.leader();
    peers.kill(leader);
    peers.add(2);
    peers.restart(leader);
    peers.all_have(vec![1, 2]);
}

/// Carries so few bytes in a second that a command of some KiB takes longer than a heartbeat may.
#[derive(Debug)]
struct Narrow;

const BYTES: usize = 1024;
const EVERY: Duration = Duration::from_millis(4);

impl Transport for Narrow {
    #[expect(
        clippy::disallowed_methods,
        reason = "they end with the connection, and with the runtime of the peer"
    )]
    fn connect(&self, to: u64, address: String) -> Connecting<'_> {
        Box::pin(async move {
            let wide = Plain.connect(to, address).await?;
            let (near, far) = tokio::io::duplex(BYTES);
            let (mut from_far, mut to_far) = tokio::io::split(wide);
            let (mut from_near, mut to_near) = tokio::io::split(far);
            tokio::spawn(async move {
                let mut bytes = [0; BYTES];
                while let Ok(count @ 1..) = from_near.read(&mut bytes).await {
                    tokio::time::sleep(EVERY).await;
                    if to_far.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                }
            });
            tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_near).await });
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }

    fn accept(&self, stream: TcpStream) -> Accepting<'_> {
        Plain.accept(stream)
    }

    fn verifies(&self) -> bool {
        false
    }
}

#[test]
fn an_entry_that_takes_longer_than_a_heartbeat_arrives_nevertheless() {
    let peers = Peers::start_with(3, |config| config.transport = Arc::new(Narrow));
    // Some 5 bytes each.
    let numbers: Vec<u32> = (0..6_000).map(|number| 1_000_000 + number).collect();
    let takes = EVERY * u32::try_from(5 * numbers.len() / BYTES).unwrap();
    assert!(takes > peers.config(1).timing.heartbeat);
    peers.propose(&Command::Many(numbers.clone()));
    peers.all_have(numbers);
}

/// Until the doors are shut: then peer 3 ends each connection as soon as it is made, and makes none.
#[derive(Debug)]
struct Doors {
    id: u64,
    /// Shared by all peers.
    are_shut: Arc<AtomicBool>,
    knocks: Arc<AtomicUsize>,
}

impl Transport for Doors {
    fn connect(&self, to: u64, address: String) -> Connecting<'_> {
        if self.id == 3 && self.are_shut.load(Ordering::Relaxed) {
            return Box::pin(async { Err(io::Error::other("stay in")) });
        }
        if to == 3 {
            self.knocks.fetch_add(1, Ordering::Relaxed);
        }
        Plain.connect(to, address)
    }

    fn accept(&self, stream: TcpStream) -> Accepting<'_> {
        match self.id == 3 && self.are_shut.load(Ordering::Relaxed) {
            true => Box::pin(async { Err(io::Error::other("not you")) }),
            false => Plain.accept(stream),
        }
    }

    fn verifies(&self) -> bool {
        false
    }
}

#[test]
fn who_is_refused_does_not_knock_without_pause() {
    let (are_shut, knocks) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let mut peers = Peers::start_with(3, |config| {
        config.transport = Arc::new(Doors {
            id: config.id,
            are_shut: Arc::clone(&are_shut),
            knocks: Arc::clone(&knocks),
        });
    });
    peers.add(0);
    peers.all_have(vec![0]);
    are_shut.store(true, Ordering::Relaxed);
    peers.kill(3);
    peers.restart(3);
    peers.add(1);
    let before = knocks.load(Ordering::Relaxed);
    for number in 2..=10 {
        std::thread::sleep(Duration::from_millis(200));
        peers.add(number);
    }
    // Every 50 ms at first, then every second, for entries and for heartbeats; a spin makes thousands.
    let knocked = knocks.load(Ordering::Relaxed) - before;
    assert!((1..400).contains(&knocked), "{knocked}");
}
