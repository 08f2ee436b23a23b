//! A fake peer: it hears agents, adopts and grants what it is told to, and sends commands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use primacy::control::{AgentMessage, PeerMessage, decode, encode};
use primacy::duty::Outcome;
use primacy::model::*;
use primacy::recovery::{Action, Step};

use crate::rig::{GROUP, LONG};

#[derive(Default)]
struct Heard {
    reports: BTreeMap<InstanceId, Report>,
    sessions: BTreeMap<InstanceId, mpsc::Sender<PeerMessage>>,
    outcomes: BTreeMap<u64, Outcome>,
    next: u64,
    adopts: Option<Order>,
    grants: BTreeMap<InstanceId, (Order, Duration)>,
    stops: BTreeMap<InstanceId, (Order, Duration)>,
    given_up: BTreeMap<InstanceId, Order>,
}

/// One peer, all of it a table.
#[derive(Clone, Default)]
pub struct Peer {
    heard: Arc<Mutex<Heard>>,
}

impl Peer {
    pub fn adopt_at(&self, order: Option<Order>) {
        self.heard.lock().unwrap().adopts = order;
    }

    pub fn grant(&self, instance: &InstanceId, order: Order, length: Duration) {
        let mut heard = self.heard.lock().unwrap();
        heard.grants.insert(instance.clone(), (order, length));
    }

    /// Grants a longer lease for the next planned stop of its agent, however often that asks, until it is given up.
    pub fn grant_stop(&self, instance: &InstanceId, order: Order, length: Duration) {
        let mut heard = self.heard.lock().unwrap();
        heard.stops.insert(instance.clone(), (order, length));
    }

    /// The stop whose longer lease its agent says that it gave up.
    pub fn given_up(&self, instance: &InstanceId) -> Option<Order> {
        self.heard.lock().unwrap().given_up.get(instance).copied()
    }

    pub fn grant_no_more(&self) {
        self.heard.lock().unwrap().grants.clear();
    }

    pub fn report(&self, instance: &InstanceId) -> Option<Report> {
        self.heard.lock().unwrap().reports.get(instance).cloned()
    }

    pub fn forget(&self, instance: &InstanceId) {
        let mut heard = self.heard.lock().unwrap();
        heard.reports.remove(instance);
        heard.sessions.remove(instance);
    }

    /// Waits until something holds, checked every 2 ms.
    pub async fn until<T>(&self, what: &str, mut holds: impl FnMut(&Peer) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = holds(self) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match tokio::time::timeout(LONG, waiting).await {
            Ok(found) => found,
            Err(_) => {
                let reports = self.heard.lock().unwrap().reports.clone();
                panic!("waited in vain until {what}: {reports:#?}")
            }
        }
    }

    pub async fn until_reported(
        &self,
        what: &str,
        instance: &InstanceId,
        holds: impl Fn(&Report) -> bool,
    ) -> Report {
        let found = |peer: &Peer| peer.report(instance).filter(|report| holds(report));
        self.until(what, found).await
    }

    pub async fn begin(&self, instance: &InstanceId, order: Order, action: Action) -> u64 {
        let session = |peer: &Peer| peer.heard.lock().unwrap().sessions.get(instance).cloned();
        let session = self.until("the agent connects", session).await;
        let id = {
            let mut heard = self.heard.lock().unwrap();
            heard.next += 1;
            heard.next
        };
        let step = Step {
            instance: instance.clone(),
            order,
            action,
        };
        session
            .send(PeerMessage::Command { id, step })
            .await
            .unwrap();
        id
    }

    pub async fn outcome(&self, id: u64) -> Outcome {
        self.until("an outcome comes", |peer| {
            peer.heard.lock().unwrap().outcomes.remove(&id)
        })
        .await
    }

    pub async fn command(&self, instance: &InstanceId, order: Order, action: Action) -> Outcome {
        let id = self.begin(instance, order, action).await;
        self.outcome(id).await
    }

    pub async fn serve(self, listener: TcpListener) {
        let mut sessions = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            sessions.spawn(self.clone().session(stream));
        }
    }

    async fn session(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("get /agent/v1/session "), "{head}");
        assert!(head.contains("upgrade: primacy-agent/1"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: primacy-agent/1\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut framed = Framed::new(stream, LengthDelimitedCodec::new());
        let (sender, mut outbox) = mpsc::channel(16);
        let welcome = PeerMessage::Welcome {
            group: GROUP.to_owned(),
            peer: PeerId(1),
            leader: Some(PeerId(1)),
        };
        sender.send(welcome).await.unwrap();
        let mut whose = None;
        loop {
            let message: AgentMessage = tokio::select! {
                message = outbox.recv() => {
                    let frame = encode(&message.unwrap()).unwrap();
                    if framed.send(bytes::Bytes::from(frame)).await.is_err() {
                        return;
                    }
                    continue;
                }
                frame = framed.next() => match frame {
                    Some(Ok(frame)) => decode(&frame).unwrap(),
                    _ => return,
                },
            };
            let reply = self.hear(message, &mut whose, &sender);
            if let Some(reply) = reply {
                sender.send(reply).await.unwrap();
            }
        }
    }

    fn hear(
        &self,
        message: AgentMessage,
        whose: &mut Option<InstanceId>,
        sender: &mpsc::Sender<PeerMessage>,
    ) -> Option<PeerMessage> {
        let mut heard = self.heard.lock().unwrap();
        match message {
            AgentMessage::Hello { instance, .. } => {
                heard.sessions.insert(instance.clone(), sender.clone());
                *whose = Some(instance);
                None
            }
            AgentMessage::Report(report) => {
                heard.reports.insert(whose.clone().unwrap(), report);
                None
            }
            AgentMessage::Renew { serial } => {
                granted(serial, heard.grants.get(whose.as_ref().unwrap()))
            }
            AgentMessage::RenewAfterStop { serial, stop } => {
                heard.stops.remove(whose.as_ref().unwrap());
                heard.given_up.insert(whose.clone().unwrap(), stop);
                granted(serial, heard.grants.get(whose.as_ref().unwrap()))
            }
            AgentMessage::PlanStop { serial } => {
                granted(serial, heard.stops.get(whose.as_ref().unwrap()))
            }
            AgentMessage::Adopt { serial } => heard
                .adopts
                .map(|order| PeerMessage::Adopted { serial, order }),
            AgentMessage::Outcome { id, outcome } => {
                heard.outcomes.insert(id, outcome);
                None
            }
        }
    }
}

fn granted(serial: u64, grant: Option<&(Order, Duration)>) -> Option<PeerMessage> {
    grant.map(|&(order, length)| PeerMessage::Granted {
        serial,
        order,
        length,
    })
}
