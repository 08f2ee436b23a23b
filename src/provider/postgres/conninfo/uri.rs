//! `postgresql://`: libpq's `conninfo_uri_parse`.

use std::ops::Range;

use super::{Conninfo, ConninfoError, Form, NOWHERE, Problem, Setting, known};

/// Where the parts of a URI stand.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Hosts and ports, between the user and the path.
    pub hosts: Range<usize>,
    /// The options, `?` included; empty at the end without any.
    pub query: Range<usize>,
}

/// How long the scheme is, if it is a URI.
pub(super) fn scheme(text: &str) -> Option<usize> {
    let schemes = ["postgresql://", "postgres://"];
    let found = schemes.iter().find(|scheme| text.starts_with(**scheme));
    found.map(|scheme| scheme.len())
}

struct Reader<'a> {
    text: &'a str,
    options: Vec<Setting>,
}

pub(super) fn parse(text: &str, scheme: usize) -> Result<Conninfo, ConninfoError> {
    let mut reader = Reader {
        text,
        options: vec![],
    };
    let hosts_from = reader.user(scheme)?;
    let hosts_to = reader.hosts(hosts_from)?;
    let mut at = hosts_to;
    if text[at..].starts_with('/') {
        let end = find(text, at, &['?']);
        if end > at + 1 {
            reader.unnamed("dbname", at + 1..end)?;
        }
        at = end;
    }
    if at < text.len() {
        reader.query(at + 1)?;
    }
    Ok(Conninfo {
        text: text.to_owned(),
        form: Form::Uri(Layout {
            hosts: hosts_from..hosts_to,
            query: at..text.len(),
        }),
        options: reader.options,
    })
}

/// The first of `ends` at or after `from`, or the end of the text.
fn find(text: &str, from: usize, ends: &[char]) -> usize {
    text[from..]
        .find(ends)
        .map_or(text.len(), |found| from + found)
}

impl Reader<'_> {
    /// User and password up to an `@`, if there is one before the path. Where the hosts begin.
    fn user(&mut self, from: usize) -> Result<usize, ConninfoError> {
        let end = find(self.text, from, &['@', '/']);
        if !self.text[end..].starts_with('@') {
            return Ok(from);
        }
        let colon = find(self.text, from, &[':', '@']);
        if colon > from {
            self.unnamed("user", from..colon)?;
        }
        if colon + 1 < end {
            self.unnamed("password", colon + 1..end)?;
        }
        Ok(end + 1)
    }

    /// Hosts and ports. Where they end.
    fn hosts(&mut self, from: usize) -> Result<usize, ConninfoError> {
        let (mut hosts, mut ports) = (vec![], vec![]);
        let mut at = from;
        loop {
            let (host, end) = self.host(at)?;
            hosts.push(&self.text[host]);
            at = end;
            let mut port = at..at;
            if self.text[at..].starts_with(':') {
                port = at + 1..find(self.text, at, &['/', '?', ',']);
                at = port.end;
            }
            ports.push(&self.text[port]);
            if !self.text[at..].starts_with(',') {
                break;
            }
            at += 1;
        }
        // Decoded after they were joined, as libpq does it.
        for (name, list) in [("host", hosts), ("port", ports)] {
            let joined = list.join(",");
            if !joined.is_empty() {
                let value = decoded(&joined).map_err(|(problem, _)| ConninfoError {
                    problem,
                    at: from,
                    within: known(name),
                })?;
                self.push(name, value, NOWHERE, from..from);
            }
        }
        Ok(at)
    }

    fn host(&self, at: usize) -> Result<(Range<usize>, usize), ConninfoError> {
        if !self.text[at..].starts_with('[') {
            let end = find(self.text, at, &[':', '/', '?', ',']);
            return Ok((at..end, end));
        }
        let error = |problem, at| ConninfoError {
            problem,
            at,
            within: known("host"),
        };
        let close = find(self.text, at, &[']']);
        if close == self.text.len() {
            return Err(error(Problem::OpenBracket, at));
        }
        if close == at + 1 {
            return Err(error(Problem::EmptyBrackets, at));
        }
        let rest = &self.text[close + 1..];
        if !rest.is_empty() && !rest.starts_with([':', '/', '?', ',']) {
            return Err(error(Problem::AfterBracket, close + 1));
        }
        Ok((at + 1..close, close + 1))
    }

    fn query(&mut self, from: usize) -> Result<(), ConninfoError> {
        let mut at = from;
        while at < self.text.len() {
            let end = find(self.text, at, &['&']);
            self.option(at..end)?;
            at = end + 1;
        }
        Ok(())
    }

    fn option(&mut self, whole: Range<usize>) -> Result<(), ConninfoError> {
        let text = &self.text[whole.clone()];
        let last = self.options.last().and_then(|it| known(&it.name));
        let error = |problem, at| ConninfoError {
            problem,
            at,
            within: last,
        };
        let Some((name, value)) = text.split_once('=') else {
            return Err(error(Problem::NoEquals, whole.start));
        };
        let value_at = whole.start + name.len() + 1..whole.end;
        let name = decoded(name).map_err(|(problem, at)| error(problem, whole.start + at))?;
        if name.is_empty() {
            return Err(error(Problem::NoName, whole.start));
        }
        let within = |problem, at| ConninfoError {
            problem,
            at,
            within: known(&name),
        };
        if let Some(second) = value.find('=') {
            return Err(within(Problem::ExtraEquals, value_at.start + second));
        }
        let value = decoded(value).map_err(|(problem, at)| within(problem, value_at.start + at))?;
        // What JDBC writes.
        if name == "ssl" && value == "true" {
            self.push("sslmode", "require".to_owned(), whole, value_at);
        } else {
            self.push(&name, value, whole, value_at);
        }
        Ok(())
    }

    /// What stands in a URI without its name.
    fn unnamed(&mut self, name: &'static str, at: Range<usize>) -> Result<(), ConninfoError> {
        let value = decoded(&self.text[at.clone()]).map_err(|(problem, inside)| ConninfoError {
            problem,
            at: at.start + inside,
            within: Some(name),
        })?;
        self.push(name, value, NOWHERE, at);
        Ok(())
    }

    fn push(&mut self, name: &str, value: String, whole: Range<usize>, value_at: Range<usize>) {
        self.options.push(Setting {
            name: name.to_owned(),
            value,
            whole,
            value_at,
        });
    }
}

/// Without percent signs. Errors: what is wrong and where.
fn decoded(text: &str) -> Result<String, (Problem, usize)> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter().copied().enumerate();
    while let Some((at, byte)) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let (_, digit) = rest.next()?;
            char::from(digit).to_digit(16)
        };
        match (digit(), digit()) {
            (Some(0), Some(0)) => return Err((Problem::Zero, at)),
            (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
            _ => return Err((Problem::BadPercent, at)),
        }
    }
    String::from_utf8(bytes).map_err(|_| (Problem::NoText, 0))
}

/// With percent signs for all but what never needs one.
pub(super) fn encoded(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            found.push(char::from(byte));
        } else {
            found.push_str(&format!("%{byte:02X}"));
        }
    }
    found
}

/// Hosts and ports as they stand in a URI.
pub(super) fn authority(hosts: &[&str], ports: &[&str]) -> String {
    let mut parts = vec![];
    for at in 0..hosts.len().max(ports.len()) {
        let host = hosts.get(at).map_or("", |it| *it);
        let mut part = match host.contains(':') && !host.starts_with('/') {
            true => format!("[{}]", encoded(host).replace("%3A", ":")),
            false => encoded(host),
        };
        match ports.get(at) {
            Some(port) if !port.is_empty() => part.push_str(&format!(":{}", encoded(port))),
            Some(_) | None => {}
        }
        parts.push(part);
    }
    parts.join(",")
}
