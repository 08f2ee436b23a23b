//! A session with a server anywhere: name, TCP, TLS, and being let in, each told apart when it fails.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Config, NoTls};

use super::call::Call;
use super::cleartext::{self, Guarded};
use super::failure::{failure, lacks_password};
use super::login::Login;
use super::session::Session;
use crate::model::Address;
use crate::provider::{Phase, ProviderError, Result};
use crate::security::{DatabaseStream, DatabaseTls};

/// `SSLRequest` (PostgreSQL's manual, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// A session that is kept is given up by the kernel after so long without an acknowledgement, whatever waits on it.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// What every session of ours has: names are those of the system, whoever owns the schema `public`.
const OPTIONS: &str = "-c client_min_messages=warning -c search_path=pg_catalog";

/// Opens a session, as far as the deadline of the call goes.
pub(super) async fn open(call: &Call, login: &Login, of: &Address) -> Result<Session> {
    let mut config = Config::new();
    config
        .user(&login.user)
        .dbname(&login.database)
        .application_name(&login.application_name)
        .options(OPTIONS);
    if let Some(secret) = login.secret(of).await? {
        config.password(secret);
    }
    let refused = |error: tokio_postgres::Error| match cleartext::is_why(&error) {
        true => ProviderError::AuthFailed(cleartext::AsksInClear.to_string()),
        false if lacks_password(&error) => login.has_none(of),
        false => failure(error, Phase::Startup),
    };
    if of.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", of.host, of.port);
        let stream = UnixStream::connect(path)
            .await
            .map_err(unreachable(Phase::Tcp))?;
        call.reached(Phase::Startup);
        config.ssl_mode(SslMode::Disable);
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(refused)?;
        return Ok(Session::begin(client, connection));
    }
    let stream = connected(call, of).await?;
    if login.tls.is_disabled() {
        config.ssl_mode(SslMode::Disable);
        let opened = config.connect_raw(Guarded::new(stream, false), NoTls).await;
        let (client, connection) = opened.map_err(refused)?;
        return Ok(Session::begin(client, connection));
    }
    let shaken = shaken(call, &login.tls, stream, &of.host).await?;
    call.reached(Phase::Startup);
    // The handshake is done; the library is only told so.
    config
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    let guarded = Guarded::new(shaken, login.tls.is_verified());
    let opened = config.connect_raw(guarded, Done).await;
    let (client, connection) = opened.map_err(refused)?;
    Ok(Session::begin(client, connection))
}

fn unreachable(phase: Phase) -> impl FnOnce(io::Error) -> ProviderError {
    move |error| ProviderError::Unreachable {
        phase,
        source: error.into(),
    }
}

/// A TCP connection to the first address of the name that takes one.
async fn connected(call: &Call, of: &Address) -> Result<TcpStream> {
    call.reached(Phase::Dns);
    let found = lookup_host((of.host.as_str(), of.port)).await;
    let addresses: Vec<_> = found.map_err(unreachable(Phase::Dns))?.collect();
    call.reached(Phase::Tcp);
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (tried, address) in addresses.iter().enumerate() {
        // One that is silent leaves time for the others.
        let share = call.remaining() / (addresses.len() - tried) as u32;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                call.reached(Phase::Startup);
                stream.set_nodelay(true).map_err(unreachable(Phase::Tcp))?;
                let limit = UNACKNOWLEDGED.as_millis() as u32;
                let set = rustix::net::sockopt::set_tcp_user_timeout(&stream, limit);
                set.map_err(|error| unreachable(Phase::Tcp)(error.into()))?;
                return Ok(stream);
            }
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(unreachable(Phase::Tcp)(failed))
}

/// Asks for TLS and shakes hands. One byte is read and no more, so that nothing that came in plain text is taken for
/// something that came over TLS.
async fn shaken(
    call: &Call,
    tls: &DatabaseTls,
    mut stream: TcpStream,
    host: &str,
) -> Result<Shaken> {
    let mut answer = [0];
    let asked = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_exact(&mut answer).await.map(drop)
    };
    asked.await.map_err(unreachable(Phase::Startup))?;
    call.reached(Phase::Tls);
    match answer[0] {
        b'S' => {}
        b'N' => {
            let why = "the server does not speak TLS; set ssl = on there, or the SSL mode disable";
            return Err(unreachable(Phase::Tls)(io::Error::other(why)));
        }
        _ => {
            let why = "the server answers the request for TLS with an error";
            return Err(unreachable(Phase::Tls)(io::Error::other(why)));
        }
    }
    let stream = tls.shake(stream, host).await;
    Ok(Shaken(stream.map_err(unreachable(Phase::Tls))?))
}

/// A connection over TLS.
struct Shaken(DatabaseStream);

impl TlsStream for Shaken {
    fn channel_binding(&self) -> ChannelBinding {
        match self.0.server_end_point() {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Shaken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Shaken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// A handshake that is done.
struct Done;

impl TlsConnect<Guarded<Shaken>> for Done {
    type Stream = Guarded<Shaken>;
    type Error = io::Error;
    type Future = Ready<io::Result<Guarded<Shaken>>>;

    fn connect(self, stream: Guarded<Shaken>) -> Self::Future {
        ready(Ok(stream))
    }
}
