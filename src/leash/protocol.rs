//! The words between agent and leash: one line each way, so that `socat` can speak it too.
//!
//! `arm <ms>` → `armed <ms>` (the deadline now held, never earlier than one already held);
//! `exchange <ms>` → `armed <ms>` (exactly this deadline, be it earlier than one already held);
//! `state` → `none`, `armed <ms>` or `expired <deadline> <ended> <processes>`;
//! `disarm` → `none`; anything that is not done → `refused <reason>`.

use std::fmt;
use std::str::FromStr;

use crate::model::Timestamp;

/// What an agent asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Arm(Timestamp),
    Exchange(Timestamp),
    State,
    Disarm,
}

/// The end that a deadline made of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The deadline that passed.
    pub deadline: Timestamp,
    /// When it was certain that no process was left, on the same clock.
    pub ended: Timestamp,
    /// How many processes were killed.
    pub processes: usize,
}

/// What a leash holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// No deadline: the instance may run as long as it likes (a standby).
    None,
    /// The instance is killed at this moment.
    Armed(Timestamp),
    /// A deadline passed, the instance was killed, and no new deadline was given since.
    Expired(Expiry),
}

/// What a leash answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Hold(Hold),
    Refused(String),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Arm(deadline) => write!(f, "arm {}", deadline.0),
            Request::Exchange(deadline) => write!(f, "exchange {}", deadline.0),
            Request::State => f.write_str("state"),
            Request::Disarm => f.write_str("disarm"),
        }
    }
}

impl FromStr for Request {
    type Err = ();
    fn from_str(line: &str) -> Result<Self, ()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |deadline: &str| deadline.parse().map(Timestamp).map_err(drop);
        match words[..] {
            ["arm", deadline] => at(deadline).map(Request::Arm),
            ["exchange", deadline] => at(deadline).map(Request::Exchange),
            ["state"] => Ok(Request::State),
            ["disarm"] => Ok(Request::Disarm),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Hold(Hold::None) => f.write_str("none"),
            Reply::Hold(Hold::Armed(deadline)) => write!(f, "armed {}", deadline.0),
            Reply::Hold(Hold::Expired(expiry)) => {
                let Expiry {
                    deadline,
                    ended,
                    processes,
                } = expiry;
                write!(f, "expired {} {} {processes}", deadline.0, ended.0)
            }
            Reply::Refused(reason) => write!(f, "refused {reason}"),
        }
    }
}

impl FromStr for Reply {
    type Err = ();
    fn from_str(line: &str) -> Result<Self, ()> {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        if word == "refused" {
            return Ok(Reply::Refused(rest.to_owned()));
        }
        let numbers: Result<Vec<u64>, _> = rest.split_whitespace().map(str::parse).collect();
        let hold = match (word, &numbers.map_err(drop)?[..]) {
            ("none", []) => Hold::None,
            ("armed", [deadline]) => Hold::Armed(Timestamp(*deadline)),
            ("expired", [deadline, ended, processes]) => Hold::Expired(Expiry {
                deadline: Timestamp(*deadline),
                ended: Timestamp(*ended),
                processes: *processes as usize,
            }),
            _ => return Err(()),
        };
        Ok(Reply::Hold(hold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_wire() {
        for request in [
            Request::Arm(Timestamp(7)),
            Request::Exchange(Timestamp(8)),
            Request::State,
            Request::Disarm,
        ] {
            assert_eq!(request.to_string().parse(), Ok(request));
        }
        let expiry = Expiry {
            deadline: Timestamp(1),
            ended: Timestamp(2),
            processes: 3,
        };
        for reply in [
            Reply::Hold(Hold::None),
            Reply::Hold(Hold::Armed(Timestamp(9))),
            Reply::Hold(Hold::Expired(expiry)),
            Reply::Refused("3 processes are alive".to_owned()),
        ] {
            assert_eq!(reply.to_string().parse(), Ok(reply));
        }
        assert_eq!("arm".parse::<Request>(), Err(()));
        assert_eq!("armed x".parse::<Reply>(), Err(()));
    }
}
