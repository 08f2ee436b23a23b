//! Addresses where something answers that the test plays itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::rig::WITHIN;

/// Two of them, and how they are given to `--api`.
pub fn listeners() -> (TcpListener, TcpListener, String) {
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (listener(), listener());
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let api = format!("{},{}", address(&first), address(&second));
    (first, second, api)
}

/// Hears a request whole and leaves the connection open.
pub fn hear(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let mut reader = BufReader::new(&stream);
    let mut body = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
            body = length.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    reader.read_exact(&mut vec![0; body]).unwrap();
    stream
}

/// Answers as a peer does, and closes.
pub fn answer(stream: TcpStream, status: &str, body: &str) {
    say(stream, status, "primacy-answered-by: 1\r\n", body);
}

/// Answers as any other HTTP server, and closes.
pub fn answer_as_stranger(stream: TcpStream, status: &str) {
    say(stream, status, "server: other\r\n", "<html></html>");
}

/// Answers with a problem of this status and code.
pub fn refuse(stream: TcpStream, status: u16, code: &str) {
    let body = format!(
        r#"{{"type":"urn:primacy:problem:{code}","title":"t","status":{status},"detail":"why","code":"{code}","retryable":true}}"#
    );
    answer(stream, &format!("{status} Problem"), &body);
}

fn say(mut stream: TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
}
