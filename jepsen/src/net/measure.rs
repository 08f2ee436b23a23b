//! What the switch does, measured between two hosts: so that a fault that is said to be there is there.
#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use super::matrix::{Matrix, Quality};
use super::namespace::joined;
use super::owner::Owner;
use super::{Network, protocol};
use crate::clock;

const PROBE_PORT: u16 = 4000;
const STREAM_PORT: u16 = 4001;
const SILENT_AFTER: Duration = Duration::from_millis(400);
const ECHOES: u32 = 400;
const STREAMED: usize = 200 << 20;

/// Prints delays, losses, throughput, and the time that a cut and its healing take.
///
/// # Errors
/// There is no network to be had here, or a probe fails.
pub fn run(seed: u64) -> anyhow::Result<()> {
    let owner = Owner::this();
    let folder = std::env::temp_dir().join(owner.to_string());
    std::fs::create_dir(&folder)?;
    let result = measure(owner, &folder, seed);
    super::remove(owner)?;
    std::fs::remove_dir_all(&folder)?;
    result
}

fn measure(owner: Owner, folder: &Path, seed: u64) -> anyhow::Result<()> {
    let began = clock::now();
    let hosts = ["one".to_owned(), "two".to_owned()];
    let mut network = Network::up(owner, &hosts, folder, seed)?;
    println!("two hosts up in {:.0} ms", clock::now().ms_since(began));
    let quality = |delay_ms: u64, jitter_ms: u64, loss_percent: u32| Quality {
        delay_us: delay_ms * 1_000,
        jitter_us: jitter_ms * 1_000,
        loss_ppm: loss_percent * 10_000,
        ..Quality::default()
    };
    for (delay, jitter, loss) in [(0, 0, 0), (50, 0, 0), (20, 10, 0), (0, 0, 30)] {
        let matrix = Matrix::default().both_ways(&["one"], &["two"], quality(delay, jitter, loss));
        network.lay("measured", matrix)?;
        let echoes = echoes(&network)?;
        println!("delay {delay} ms, jitter {jitter} ms, loss {loss} % on each link: {echoes}");
    }
    network.lift("measured")?;
    println!(
        "throughput of one stream: {:.2} Gbit/s",
        throughput(&network)?
    );
    let narrow = Quality {
        bandwidth: Some(10_000_000),
        ..Quality::default()
    };
    network.lay(
        "measured",
        Matrix::default().both_ways(&["one"], &["two"], narrow),
    )?;
    println!("the same at 10 MB/s: {:.3} Gbit/s", throughput(&network)?);
    network.lift("measured")?;
    let (mut cut, mut heal) = (vec![], vec![]);
    for _ in 0..20 {
        let began = clock::now();
        network.lay(
            "cut",
            Matrix::default().one_way(&["one"], &["two"], Quality::CUT),
        )?;
        let cut_at = clock::now();
        network.lift("cut")?;
        cut.push(cut_at.ms_since(began));
        heal.push(clock::now().ms_since(cut_at));
    }
    println!("cut {}, heal {}", spread(&mut cut), spread(&mut heal));
    network.lay(
        "cut",
        Matrix::default().one_way(&["one"], &["two"], Quality::CUT),
    )?;
    println!("one to two cut: {}", arrivals(&network, "one", "two")?);
    println!("two to one open: {}", arrivals(&network, "two", "one")?);
    Ok(())
}

fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let worst = values.last().copied().unwrap_or(f64::NAN);
    format!("{middle:.2} ms (median, worst {worst:.2} ms)")
}

/// Answers what it is sent until nothing comes any more.
fn echoing(
    network: &Network,
    host: &str,
) -> anyhow::Result<(JoinHandle<anyhow::Result<u32>>, String)> {
    let number = network.hosts().iter().position(|known| known == host);
    let address = protocol(number.context("no such host")? + 1);
    let (bound, is_bound) = std::sync::mpsc::sync_channel(1);
    let thread = network
        .namespace(host)
        .thread(move || -> anyhow::Result<u32> {
            let socket = UdpSocket::bind((address, PROBE_PORT))?;
            socket.set_read_timeout(Some(SILENT_AFTER * 3))?;
            bound.send(())?;
            let mut buffer = [0; 16];
            let mut heard = 0;
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                heard += 1;
                socket.send_to(&buffer[..length], from)?;
            }
            Ok(heard)
        })?;
    is_bound.recv()?;
    let thread = std::thread::spawn(move || joined(thread)?);
    Ok((thread, format!("{address}:{PROBE_PORT}")))
}

fn echoes(network: &Network) -> anyhow::Result<String> {
    let (server, address) = echoing(network, "two")?;
    let client = network
        .namespace("one")
        .thread(move || -> anyhow::Result<_> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(&address)?;
            socket.set_read_timeout(Some(SILENT_AFTER / 2))?;
            let mut times = vec![];
            let mut buffer = [0; 16];
            let began = clock::now();
            for number in 0..ECHOES {
                let sent = clock::now();
                socket.send(&number.to_le_bytes())?;
                match socket.recv(&mut buffer) {
                    Ok(_) => times.push(clock::now().ms_since(sent)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
                if clock::now().since(began) > Duration::from_secs(15) {
                    return Ok((times, number + 1));
                }
            }
            Ok((times, ECHOES))
        })?;
    let (mut times, sent) = joined(client)??;
    joined(server)?;
    let answered = times.len();
    Ok(format!(
        "{} there and back, {answered} of {sent} answered",
        spread(&mut times)
    ))
}

/// How many of 100 datagrams arrive in that direction, whatever becomes of the answers.
fn arrivals(network: &Network, from: &str, to: &str) -> anyhow::Result<String> {
    let (server, address) = echoing(network, to)?;
    let client = network
        .namespace(from)
        .thread(move || -> anyhow::Result<()> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            for number in 0..100_u32 {
                socket.send_to(&number.to_le_bytes(), &address)?;
            }
            Ok(())
        })?;
    joined(client)??;
    Ok(format!("{} of 100 arrive", joined(server)?))
}

/// Of one TCP stream, in Gbit/s.
fn throughput(network: &Network) -> anyhow::Result<f64> {
    let (bound, is_bound) = std::sync::mpsc::sync_channel(1);
    let server = network
        .namespace("two")
        .thread(move || -> anyhow::Result<f64> {
            let listener = TcpListener::bind((protocol(2), STREAM_PORT))?;
            bound.send(())?;
            let (mut stream, _) = listener.accept()?;
            let mut buffer = vec![0; 1 << 16];
            let (began, mut received) = (clock::now(), 0);
            loop {
                let length = stream.read(&mut buffer)?;
                received += length;
                let seconds = clock::now().since(began).as_secs_f64();
                if length == 0 || received >= STREAMED || seconds > 3.0 {
                    return Ok(received as f64 * 8.0 / seconds / 1e9);
                }
            }
        })?;
    is_bound.recv()?;
    let client = network
        .namespace("one")
        .thread(move || -> anyhow::Result<()> {
            let mut stream = TcpStream::connect((protocol(2), STREAM_PORT))?;
            let buffer = vec![0; 1 << 16];
            // The receiver ends the stream when it has seen enough.
            while stream.write_all(&buffer).is_ok() {}
            Ok(())
        })?;
    let rate = joined(server)??;
    joined(client)??;
    Ok(rate)
}
