//! The two calls of etcd's gRPC interface that are needed: `Put`, and `Status` to find the leader.

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, client};
use hyper::{Request, StatusCode};
use tokio::task::JoinSet;

use crate::keys::Keys;

/// One HTTP/2 connection; clones share it.
#[derive(Clone)]
pub struct Channel {
    sender: client::SendRequest<Bytes>,
    address: String,
}

/// What a member of etcd says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The member that answers.
    pub member: u64,
    /// The leader that it knows of; 0 is none.
    pub leader: u64,
}

impl Channel {
    /// Connects; `driven` drives the connection.
    pub async fn connect(
        keys: &Keys,
        address: &str,
        driven: &mut JoinSet<Result<(), h2::Error>>,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = client::handshake(keys.connect(address).await?).await?;
        driven.spawn(connection);
        Ok(Self {
            sender,
            address: address.to_owned(),
        })
    }

    /// Writes one value; the answer comes when a majority has it.
    pub async fn put(&mut self, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
        let mut message = BytesMut::new();
        bytes_field(&mut message, 1, key);
        bytes_field(&mut message, 2, value);
        self.call("/etcdserverpb.KV/Put", &message).await?;
        Ok(())
    }

    /// Who answers, and who leads.
    pub async fn status(&mut self) -> anyhow::Result<Status> {
        let answer = self.call("/etcdserverpb.Maintenance/Status", &[]).await?;
        read_status(&answer).context("etcd's status cannot be read")
    }

    async fn call(&mut self, path: &str, message: &[u8]) -> anyhow::Result<Bytes> {
        let request = Request::post(format!("https://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(request, false)?;
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len())?);
        frame.put_slice(message);
        body.send_data(frame.freeze(), true)?;
        let (head, body) = response.await?.into_parts();
        ensure!(
            head.status == StatusCode::OK,
            "etcd answers {}",
            head.status
        );
        let (answer, status) = collect(body).await?;
        let status = status.or_else(|| head.headers.get("grpc-status").cloned());
        match status {
            Some(status) if status == "0" => Ok(answer),
            other => bail!("etcd refuses: grpc-status {other:?}"),
        }
    }
}

/// The message of an answer, without its frame, and its status.
async fn collect(
    mut body: RecvStream,
) -> anyhow::Result<(Bytes, Option<hyper::header::HeaderValue>)> {
    let mut all = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        all.put_slice(&part);
    }
    let trailers = body.trailers().await?;
    let status = trailers.and_then(|trailers| trailers.get("grpc-status").cloned());
    let message = if all.len() > 5 {
        all.split_off(5)
    } else {
        BytesMut::new()
    };
    Ok((message.freeze(), status))
}

fn varint(buffer: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buffer.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// A field of bytes, as protocol buffers write it.
fn bytes_field(buffer: &mut BytesMut, number: u64, value: &[u8]) {
    varint(buffer, number << 3 | 2);
    varint(buffer, value.len() as u64);
    buffer.put_slice(value);
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = take_varint(bytes)?;
    let field = match tag & 7 {
        0 => Field::Number(take_varint(bytes)?),
        2 => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Field::Bytes(value)
        }
        _ => return None,
    };
    Some((tag >> 3, field))
}

/// `StatusResponse`: header = 1 (member_id = 2), leader = 4.
fn read_status(mut message: &[u8]) -> Option<Status> {
    let mut status = Status::default();
    while !message.is_empty() {
        match take_field(&mut message)? {
            (1, Field::Bytes(mut header)) => {
                while !header.is_empty() {
                    if let (2, Field::Number(member)) = take_field(&mut header)? {
                        status.member = member;
                    }
                }
            }
            (4, Field::Number(leader)) => status.leader = leader,
            _ => {}
        }
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let mut header = BytesMut::new();
        varint(&mut header, 1 << 3);
        varint(&mut header, 5);
        varint(&mut header, 2 << 3);
        varint(&mut header, 0x1234_5678_9abc_def0);
        let mut message = BytesMut::new();
        bytes_field(&mut message, 1, &header);
        bytes_field(&mut message, 2, b"3.4.23");
        varint(&mut message, 4 << 3);
        varint(&mut message, 77);
        let expected = Status {
            member: 0x1234_5678_9abc_def0,
            leader: 77,
        };
        assert_eq!(read_status(&message), Some(expected));
        assert_eq!(read_status(&message[..message.len() - 1]), None);
    }
}
