//! What passes between two hosts, seen by sockets in their namespaces.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Context;

use super::namespace::joined;
use super::{Network, protocol};
use crate::clock;

const STREAM_PORT: u16 = 4001;
/// What has not arrived after this is lost; more than any delay that is measured, there and back.
const LOST_AFTER: Duration = Duration::from_millis(300);
/// So that no receiver's buffer is ever full.
const DATAGRAMS: u32 = 100;
/// What is streamed, unless it takes longer than the time below.
const STREAMED: usize = 200 << 20;
const STREAM_WITHIN: f64 = 3.0;

fn socket(network: &Network, host: &str) -> anyhow::Result<UdpSocket> {
    let number = network.hosts().iter().position(|known| known == host);
    let address = protocol(number.context("no such host")? + 1);
    let binding = network
        .namespace(host)
        .thread(move || UdpSocket::bind((address, 0)))?;
    let socket = joined(binding)??;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    Ok(socket)
}

/// The next datagram's number; none if nothing comes.
fn received(socket: &UdpSocket) -> anyhow::Result<Option<u32>> {
    let mut number = [0; 4];
    match socket.recv(&mut number) {
        Ok(_) => Ok(Some(u32::from_le_bytes(number))),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many of 100 datagrams from `from` to `to` arrive.
///
/// # Errors
/// There is no such host, or the system has no socket left.
pub fn arrivals(network: &Network, from: &str, to: &str) -> anyhow::Result<usize> {
    let (sender, receiver) = (socket(network, from)?, socket(network, to)?);
    for number in 0..DATAGRAMS {
        sender.send_to(&number.to_le_bytes(), receiver.local_addr()?)?;
    }
    let mut arrived = 0;
    while received(&receiver)?.is_some() {
        arrived += 1;
    }
    Ok(arrived)
}

/// The times of so many datagrams from `from` to `to` and back, in ms; none of what is lost.
///
/// # Errors
/// As [`arrivals`].
pub fn echoes(network: &Network, from: &str, to: &str, count: u32) -> anyhow::Result<Vec<f64>> {
    let (near, far) = (socket(network, from)?, socket(network, to)?);
    let mut times = vec![];
    for number in 0..count {
        let sent = clock::now();
        near.send_to(&number.to_le_bytes(), far.local_addr()?)?;
        while let Some(heard) = received(&far)? {
            far.send_to(&heard.to_le_bytes(), near.local_addr()?)?;
            if heard == number {
                break;
            }
        }
        while let Some(heard) = received(&near)? {
            if heard == number {
                times.push(clock::now().ms_since(sent));
                break;
            }
        }
    }
    Ok(times)
}

/// Of one TCP stream from the first to the second host, in Gbit/s.
///
/// # Errors
/// The system has no socket left, or the stream breaks.
pub fn throughput(network: &Network) -> anyhow::Result<f64> {
    let (from, to) = (&network.hosts()[0], &network.hosts()[1]);
    let listening = network
        .namespace(to)
        .thread(|| TcpListener::bind((protocol(2), STREAM_PORT)))?;
    let listener = joined(listening)??;
    let connecting = network
        .namespace(from)
        .thread(|| TcpStream::connect((protocol(2), STREAM_PORT)))?;
    let mut sender = joined(connecting)??;
    let (mut receiver, _) = listener.accept()?;
    // It ends when the receiver has seen enough.
    let sending = std::thread::spawn(move || while sender.write_all(&[0; 1 << 16]).is_ok() {});
    let mut buffer = vec![0; 1 << 16];
    let (began, mut streamed) = (clock::now(), 0);
    let rate = loop {
        let length = receiver.read(&mut buffer)?;
        streamed += length;
        let seconds = clock::now().since(began).as_secs_f64();
        if length == 0 || streamed >= STREAMED || seconds > STREAM_WITHIN {
            break streamed as f64 * 8.0 / seconds / 1e9;
        }
    };
    drop(receiver);
    let _ = sending.join();
    Ok(rate)
}
