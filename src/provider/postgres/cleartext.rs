//! Nobody who is not known for certain is told a password as it is.
//!
//! A server may ask for the password itself instead of a proof that it is known (`password` in `pg_hba.conf`, or LDAP, PAM and
//! RADIUS behind it), and the client library answers whoever asks, as libpq does. Unless TLS has verified who that is, the
//! question is not passed on to it.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// `AuthenticationCleartextPassword` (PostgreSQL's manual, "Message Formats").
const CLEARTEXT: u32 = 3;
/// A message of authentication: its letter, its length, and what it asks for.
const LETTER: u8 = b'R';
const HEAD: usize = 9;
/// The letter and the length, which counts itself and not the letter.
const FRAME: usize = 5;

/// A server asks for the password as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AsksInClear;

impl fmt::Display for AsksInClear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the server asks for the password in clear, which it is not told unless TLS verifies who it is; set the SSL mode \
             verify-full, or the method scram-sha-256 in its pg_hba.conf",
        )
    }
}

impl Error for AsksInClear {}

/// Whether it is what a connection failed for.
pub(super) fn is_why(error: &tokio_postgres::Error) -> bool {
    let cause = error.source().and_then(|it| it.downcast_ref::<io::Error>());
    cause.is_some_and(|it| it.get_ref().is_some_and(|it| it.is::<AsksInClear>()))
}

/// Reads along until the first question of authentication.
#[derive(Debug, Default)]
struct Questions {
    head: [u8; HEAD],
    read: usize,
    /// Of a message that is no question.
    skip: u32,
    is_over: bool,
}

impl Questions {
    fn read(&mut self, bytes: &[u8]) -> Result<(), AsksInClear> {
        for byte in bytes {
            if self.is_over {
                return Ok(());
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.head[self.read] = *byte;
            self.read += 1;
            let number = |at: usize| {
                let four = self.head[at..at + 4].try_into();
                u32::from_be_bytes(four.expect("they are four"))
            };
            if self.read == FRAME && self.head[0] != LETTER {
                self.skip = number(1).saturating_sub(4);
                self.read = 0;
            } else if self.read == HEAD {
                if number(FRAME) == CLEARTEXT {
                    return Err(AsksInClear);
                }
                self.is_over = true;
            }
        }
        Ok(())
    }
}

/// A connection on which that question is not passed on.
pub(super) struct Guarded<S> {
    stream: S,
    questions: Questions,
}

impl<S> Guarded<S> {
    /// `is_verified` is whether TLS says who answers.
    pub fn new(stream: S, is_verified: bool) -> Guarded<S> {
        Guarded {
            stream,
            questions: Questions {
                is_over: is_verified,
                ..Questions::default()
            },
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guarded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let new = &buffer.filled()[before..];
        Poll::Ready(self.questions.read(new).map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(letter: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[letter], &length[..], body].concat()
    }

    #[test]
    fn the_question_is_found_however_it_comes() {
        let question = |code: u32| message(LETTER, &code.to_be_bytes());
        let notice = message(b'N', b"SNOTICE\0R\0\0\0\x08\0\0\0\x03\0");
        let check = |parts: &[Vec<u8>], is_refused: bool| {
            let all = parts.concat();
            for size in 1..=all.len() {
                let mut questions = Questions::default();
                let mut read = all.chunks(size).map(|part| questions.read(part));
                assert_eq!(read.any(|it| it.is_err()), is_refused, "{parts:?} {size}");
            }
        };
        check(&[question(3)], true);
        check(&[notice.clone(), question(3)], true);
        check(&[question(0), question(3)], false);
        check(&[question(10)], false);
        check(&[notice, message(b'E', b"SFATAL\0\0")], false);
    }
}
