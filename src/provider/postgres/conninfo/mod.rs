//! libpq's connection strings, as `primary_conninfo` holds them: read, and changed in the place they lead to and in
//! nothing else.
//!
//! The rules are those of libpq's `fe-connect.c` (PostgreSQL 12 to 17; manual, "Connection Strings"), with one
//! difference: an option that this version of libpq may not know is kept, because the server that reads the string
//! may know it. A string may hold a password, so neither `Debug` nor an error shows a value.

mod edit;
mod keyword;
mod uri;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use crate::model::Address;

/// The port without one.
pub const DEFAULT_PORT: u16 = 5432;

/// A connection string that was understood. Keeps its text, so that a change leaves all else as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo {
    text: String,
    form: Form,
    options: Vec<Setting>,
}

/// How it is written.
#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// `name = value` pairs.
    Keywords,
    /// `postgresql://`.
    Uri(uri::Layout),
}

/// One option, with where it stands in the text.
#[derive(Clone, PartialEq, Eq)]
struct Setting {
    name: String,
    value: String,
    /// Name and value; empty for what a URI says without a name.
    whole: Range<usize>,
    /// The value as written, quotes included.
    value_at: Range<usize>,
}

/// A place that a connection string leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub host: Host,
    /// `hostaddr`: the IP address that is connected to without asking for the name's; none to ask.
    pub address: Option<String>,
    /// The port, a part of the socket's name for a socket.
    pub port: u16,
}

/// The `host` of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an IP address.
    Name(String),
    /// The folder of a Unix socket; one of the abstract namespace begins with `@`.
    Socket(String),
    /// None: libpq takes its own folder of sockets, or `hostaddr`.
    Unset,
}

impl Place {
    /// The address by which PostgreSQL names this place in `pg_stat_wal_receiver`: the host, else `hostaddr`.
    pub fn key(&self) -> Address {
        let host = match &self.host {
            Host::Name(host) | Host::Socket(host) => host.clone(),
            Host::Unset => self.address.clone().unwrap_or_default(),
        };
        Address {
            host,
            port: self.port,
        }
    }
}

/// Why a connection string is not understood, and where. Never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}{}", after(.within))]
pub struct ConninfoError {
    /// What is wrong.
    pub problem: Problem,
    /// Counted from zero.
    pub at: usize,
    /// The option it is in, or behind; none if that is none of libpq's, because it may be a part of a password then.
    pub within: Option<&'static str>,
}

fn after(within: &Option<&'static str>) -> String {
    within.map_or_else(String::new, |name| format!(", in or after '{name}'"))
}

/// What is wrong with a connection string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// `name` alone. A value with spaces that is not quoted reads like this.
    #[error("a word without '='; quote a value that has spaces")]
    NoEquals,
    /// `= value`.
    #[error("a value without a name")]
    NoName,
    /// `'value`.
    #[error("a quote that does not end")]
    OpenQuote,
    /// `%` without two hexadecimal digits.
    #[error("a '%' without two hexadecimal digits; write it as %25")]
    BadPercent,
    /// `%00`.
    #[error("a byte of zero")]
    Zero,
    /// Percent signs that make no UTF-8.
    #[error("bytes that are no text")]
    NoText,
    /// `[::1`.
    #[error("an IPv6 address without ']'")]
    OpenBracket,
    /// `[]`.
    #[error("an empty IPv6 address")]
    EmptyBrackets,
    /// `[::1]x`.
    #[error("something between ']' and the port, the path or the options")]
    AfterBracket,
    /// `?a=b=c`.
    #[error("a second '='; write it as %3D")]
    ExtraEquals,
    /// `port=0`.
    #[error("a port that is no number from 1 to 65535")]
    BadPort,
    /// `host=a,b port=1,2,3`.
    #[error("another number of ports than of hosts")]
    PortCount,
    /// `host=a,b hostaddr=::1`.
    #[error("another number of 'hostaddr' than of hosts")]
    AddressCount,
}

/// The options that libpq knows: their names are no secrets.
const KNOWN: &[&str] = &[
    "service",
    "user",
    "password",
    "passfile",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslmode",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslcertmode",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "require_auth",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "replication",
    "target_session_attrs",
    "load_balance_hosts",
];

fn known(name: &str) -> Option<&'static str> {
    KNOWN.iter().copied().find(|known| *known == name)
}

/// Of an option that the text does not hold by name.
const NOWHERE: Range<usize> = 0..0;

impl Conninfo {
    /// Understands a connection string in either form; the empty one has no options.
    ///
    /// # Errors
    /// It is none; says what is wrong and where, without showing a value.
    pub fn parse(text: &str) -> Result<Conninfo, ConninfoError> {
        // Where libpq's texts end.
        if let Some(at) = text.find('\0') {
            return Err(ConninfoError {
                problem: Problem::Zero,
                at,
                within: None,
            });
        }
        match uri::scheme(text) {
            Some(at) => uri::parse(text, at),
            None => keyword::parse(text),
        }
    }

    /// Whether it holds a secret itself, rather than the name of a file with one.
    pub fn has_secret(&self) -> bool {
        let holds = |name| self.get(name).is_some_and(|value| !value.is_empty());
        holds("password") || holds("sslpassword")
    }

    /// As it was written.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.options.is_empty()
    }

    /// The value in force of an option: of several the last, as libpq has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|setting| setting.value.as_str())
    }

    /// Every option in force, by name.
    #[cfg(test)]
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        let last = |at: usize, name: &str| self.options[at + 1..].iter().all(|it| it.name != name);
        let settings = self.options.iter().enumerate();
        let in_force = settings.filter(move |(at, setting)| last(*at, &setting.name));
        in_force.map(|(_, setting)| (setting.name.as_str(), setting.value.as_str()))
    }

    /// Where it leads, in the order in which libpq tries. Never empty.
    ///
    /// # Errors
    /// A port that is none, or lists of different lengths.
    pub fn places(&self) -> Result<Vec<Place>, ConninfoError> {
        let hosts = self.list("host");
        let addresses = self.list("hostaddr");
        let ports = self.list("port");
        let count = match (addresses.len(), hosts.len()) {
            (0, hosts) => hosts.max(1),
            (addresses, 0) => addresses,
            (addresses, hosts) if addresses == hosts => hosts,
            _ => return Err(self.error(Problem::AddressCount, "hostaddr")),
        };
        if !matches!(ports.len(), 0 | 1) && ports.len() != count {
            return Err(self.error(Problem::PortCount, "port"));
        }
        let place = |at: usize| {
            let of = |list: &[&str]| list.get(at).map_or("", |it| *it).to_owned();
            let port = match ports.as_slice() {
                [] => "",
                [only] => only,
                several => several[at],
            };
            let host = match of(&hosts) {
                host if host.is_empty() => Host::Unset,
                host if host.starts_with(['/', '@']) => Host::Socket(host),
                host => Host::Name(host),
            };
            Ok(Place {
                host,
                address: Some(of(&addresses)).filter(|address| !address.is_empty()),
                port: number(port).ok_or_else(|| self.error(Problem::BadPort, "port"))?,
            })
        };
        (0..count).map(place).collect()
    }

    /// The first place, by the address that names it. Errors: as [`Conninfo::places`].
    pub fn key(&self) -> Result<Address, ConninfoError> {
        let places = self.places()?;
        let first = places.first().expect("there is at least one place");
        Ok(first.key())
    }

    fn find(&self, name: &str) -> Option<&Setting> {
        self.options.iter().rev().find(|it| it.name == name)
    }

    /// The parts of an option that is a list; none if it is empty or not there.
    fn list(&self, name: &str) -> Vec<&str> {
        match self.get(name) {
            None | Some("") => vec![],
            Some(value) => value.split(',').collect(),
        }
    }

    fn error(&self, problem: Problem, name: &'static str) -> ConninfoError {
        ConninfoError {
            problem,
            at: self.find(name).map_or(0, |setting| setting.value_at.start),
            within: Some(name),
        }
    }
}

/// A port as libpq reads it: spaces around it are nothing, and nothing is the default.
fn number(text: &str) -> Option<u16> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii() && is_space(c as u8));
    if text.is_empty() {
        return Some(DEFAULT_PORT);
    }
    let digits = trimmed.strip_prefix('+').unwrap_or(trimmed);
    let port = digits.parse().ok().filter(|port| *port > 0);
    port.filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r')
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.options.iter().map(|it| known(&it.name).unwrap_or("?"));
        f.debug_set().entries(names).finish()
    }
}
