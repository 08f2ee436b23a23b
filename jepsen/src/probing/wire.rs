//! The servers' side of PostgreSQL's protocol 3.0 over TLS (PostgreSQL's manual, "Message Formats"): as much as a session
//! needs that only asks. Everybody is let in.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::answers::{Answer, Instance};
use crate::clock;

/// The ports that are tried begin here, below those that the kernel gives out by itself.
const FIRST: u16 = 15_000;
/// They end before this.
const END: u16 = 32_000;
/// No message of a client that only asks is longer.
const LONGEST: usize = 1 << 20;
const TEXT: u32 = 25;
const VERSION: &str = "15.18 (Debian 15.18-0+deb12u1)";

/// Many servers in this process. They end with it.
pub struct Servers {
    /// The port of the first; the others follow.
    pub base: u16,
    answered: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Servers {
    /// So many, each on a port of its own.
    ///
    /// # Errors
    /// There are not so many free ports in a row.
    pub async fn start(count: u16) -> anyhow::Result<Servers> {
        // A port and a session of each.
        let files = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: files.maximum,
            ..files
        };
        setrlimit(Resource::Nofile, raised).context("open more files")?;
        let (base, listeners) = listeners(count).await?;
        let acceptor = acceptor()?;
        let answered = Arc::new(AtomicU64::new(0));
        let since = clock::now();
        let mut tasks = JoinSet::new();
        for (number, listener) in (0..).zip(listeners) {
            let instance = Instance {
                base,
                number,
                count,
                since,
            };
            tasks.spawn(serve(
                listener,
                acceptor.clone(),
                instance,
                answered.clone(),
            ));
        }
        Ok(Servers {
            base,
            answered,
            _tasks: tasks,
        })
    }

    /// How many statements that say what an instance is were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

async fn listeners(count: u16) -> anyhow::Result<(u16, Vec<TcpListener>)> {
    let mut base = FIRST;
    while base + count < END {
        let mut held = vec![];
        for port in base..base + count {
            match TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await {
                Ok(listener) => held.push(listener),
                Err(_) => break,
            }
        }
        if held.len() == usize::from(count) {
            return Ok((base, held));
        }
        base += u16::try_from(held.len()).unwrap_or(0) + 1;
    }
    anyhow::bail!("there are no {count} free ports in a row between {FIRST} and {END}")
}

/// With a certificate that it signs itself: whoever does not ask for an authority believes it.
fn acceptor() -> anyhow::Result<TlsAcceptor> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let secret = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .context("show a certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    instance: Instance,
    answered: Arc<AtomicU64>,
) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let (acceptor, answered) = (acceptor.clone(), answered.clone());
                // A session ends with its client, whatever the reason.
                sessions.spawn(async move {
                    let _ = session(stream, &acceptor, instance, &answered).await;
                });
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn session(
    mut stream: TcpStream,
    acceptor: &TlsAcceptor,
    instance: Instance,
    answered: &AtomicU64,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 8];
    stream.read_exact(&mut request).await?;
    stream.write_all(b"S").await?;
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let mut out = vec![];
    body(&mut stream).await?;
    message(&mut out, b'R', &[&0_u32.to_be_bytes()]);
    message(
        &mut out,
        b'S',
        &[b"server_version\0", VERSION.as_bytes(), b"\0"],
    );
    message(&mut out, b'K', &[&[0; 8]]);
    message(&mut out, b'Z', &[b"I"]);
    let mut prepared = BTreeMap::<Vec<u8>, String>::new();
    let mut bound = String::new();
    loop {
        if !out.is_empty() {
            stream.write_all(&out).await?;
            stream.flush().await?;
            out.clear();
        }
        // What comes in one piece is answered in one piece.
        loop {
            let kind = stream.read_u8().await?;
            let body = body(&mut stream).await?;
            let mut parts = body.split(|byte| *byte == 0);
            let mut part = || parts.next().unwrap_or_default();
            match kind {
                b'Q' => {
                    let statement = String::from_utf8_lossy(part()).into_owned();
                    answer(&mut out, instance, &statement, answered, true);
                    message(&mut out, b'Z', &[b"I"]);
                }
                b'P' => {
                    let name = part().to_vec();
                    let statement = String::from_utf8_lossy(part()).into_owned();
                    prepared.insert(name, statement);
                    message(&mut out, b'1', &[]);
                }
                b'D' => {
                    let statement = prepared.get(part().get(1..).unwrap_or_default());
                    message(&mut out, b't', &[&0_u16.to_be_bytes()]);
                    match instance.answer(statement.map_or("", String::as_str)) {
                        Answer::Rows(columns, _) => describe(&mut out, columns),
                        Answer::Done(_) => message(&mut out, b'n', &[]),
                    }
                }
                b'B' => {
                    let _portal = part();
                    bound = prepared.get(part()).cloned().unwrap_or_default();
                    message(&mut out, b'2', &[]);
                }
                b'E' => answer(&mut out, instance, &bound, answered, false),
                b'C' => message(&mut out, b'3', &[]),
                b'S' => message(&mut out, b'Z', &[b"I"]),
                _ => return Ok(()),
            }
            if stream.buffer().is_empty() {
                break;
            }
        }
    }
}

/// The rest of a message, behind its kind.
async fn body(stream: &mut BufReader<TlsStream<TcpStream>>) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await? as usize;
    let length = length.checked_sub(4).filter(|it| *it <= LONGEST);
    let mut body = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn message(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    out.extend((length as u32 + 4).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn describe(out: &mut Vec<u8>, columns: usize) {
    let mut body = (columns as u16).to_be_bytes().to_vec();
    for _ in 0..columns {
        body.extend(b"?column?\0");
        body.extend([0; 6]);
        body.extend(TEXT.to_be_bytes());
        body.extend([0xFF; 6]);
        body.extend([0; 2]);
    }
    message(out, b'T', &[&body]);
}

fn answer(
    out: &mut Vec<u8>,
    instance: Instance,
    statement: &str,
    answered: &AtomicU64,
    is_described: bool,
) {
    if statement.contains("pg_control_system") {
        answered.fetch_add(1, Ordering::Relaxed);
    }
    match instance.answer(statement) {
        Answer::Done(what) => message(out, b'C', &[what.as_bytes(), b"\0"]),
        Answer::Rows(columns, rows) => {
            if is_described {
                describe(out, columns);
            }
            for row in &rows {
                let mut body = (row.len() as u16).to_be_bytes().to_vec();
                for value in row {
                    match value {
                        None => body.extend((-1_i32).to_be_bytes()),
                        Some(value) => {
                            body.extend((value.len() as u32).to_be_bytes());
                            body.extend(value.as_bytes());
                        }
                    }
                }
                message(out, b'D', &[&body]);
            }
            let tag = format!("SELECT {}\0", rows.len());
            message(out, b'C', &[tag.as_bytes()]);
        }
    }
}
