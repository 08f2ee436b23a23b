//! Whether `pg_hba.conf` lets standbys stream, as a function of its lines (PostgreSQL's manual, "The pg_hba.conf File"): the
//! first line that matches decides, and `all` matches every database but not replication.

use std::net::IpAddr;

use serde::Deserialize;

use super::{Lack, Receiver};

/// A line of the file as `pg_hba_file_rules` tells it. What is in force may be older, if nobody had it read since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    /// In the file.
    pub number: u32,
    /// `local`, `host`, `hostssl` ….
    pub kind: String,
    pub databases: Vec<String>,
    pub users: Vec<String>,
    pub address: Option<String>,
    pub netmask: Option<String>,
    pub method: String,
    /// Why it cannot be understood.
    pub error: Option<String>,
}

/// Whether a line is meant for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    /// That depends on what is not known here: TLS, names of hosts, networks of the server.
    Maybe,
}

/// What is missing for these to stream. `groups` answers of which roles a role is a member; `file` is where the lines stand.
pub(crate) fn missing(
    lines: &[Line],
    receivers: &[Receiver],
    groups: impl Fn(&str) -> Vec<String>,
    file: &str,
) -> Vec<Lack> {
    let broken = lines.iter().filter_map(|line| {
        let error = line.error.as_ref()?;
        let number = line.number;
        Some(Lack {
            what: format!(
                "line {number} of {file} is wrong: {error}; no later change of the file counts, and a restart fails"
            ),
            mend: format!("mend line {number} of {file}; SELECT pg_reload_conf();"),
            is_needed: true,
        })
    });
    let mut lacks: Vec<Lack> = broken.collect();
    let read: Vec<&Line> = lines.iter().filter(|line| line.error.is_none()).collect();
    let mut refused: Vec<(&str, Option<IpAddr>)> = vec![];
    for receiver in receivers {
        let user = receiver.user.as_str();
        let groups = groups(user);
        let of_user = |line: &&&Line| is_for_replication(line) && is_for_user(line, user, &groups);
        let for_user: Vec<&&Line> = read.iter().filter(of_user).collect();
        let is_let_in = match receiver.address {
            Some(from) => is_let_in(&for_user, from),
            None => for_user.iter().any(|line| line.method != "reject"),
        };
        if !is_let_in && !refused.contains(&(user, receiver.address)) {
            refused.push((user, receiver.address));
            let is_anywhere = for_user.iter().any(|line| line.method != "reject");
            lacks.push(lack(user, receiver.address, is_anywhere, file));
        }
    }
    lacks
}

fn lack(user: &str, from: Option<IpAddr>, is_anywhere: bool, file: &str) -> Lack {
    let place = from.map_or(String::new(), |from| format!(" from {from}"));
    let network = match from {
        Some(IpAddr::V4(from)) => format!("{from}/32"),
        Some(IpAddr::V6(from)) => format!("{from}/128"),
        None => "samenet".to_owned(),
    };
    Lack {
        what: format!("no line of {file} lets {user} stream{place}: a standby could not follow it"),
        mend: format!(
            "add to {file}: host replication {} {network} scram-sha-256 -- then SELECT pg_reload_conf();",
            quoted(user)
        ),
        // Behind a translation of addresses it may come from elsewhere.
        is_needed: !is_anywhere,
    }
}

/// A name as the file has it.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !name.is_empty() && name.chars().all(is_plain) && name != "all" {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Only those over the network: nobody streams from another machine over a Unix socket.
fn is_for_replication(line: &Line) -> bool {
    line.kind != "local" && line.databases.iter().any(|it| it == "replication")
}

fn is_for_user(line: &Line, user: &str, groups: &[String]) -> bool {
    line.users.iter().any(|it| {
        let group = it.strip_prefix('+');
        let is_member = group.is_some_and(|group| groups.iter().any(|it| it == group));
        // A pattern, from 16 on, is taken for one that fits.
        it == "all" || it == user || is_member || it.starts_with('/')
    })
}

/// The first line that is for that address decides. One of which that cannot be said is passed over if it refuses.
fn is_let_in(lines: &[&&Line], from: IpAddr) -> bool {
    for line in lines {
        let lets_in = line.method != "reject";
        match (is_for_address(line, from), lets_in) {
            (Match::No, _) | (Match::Maybe, false) => {}
            (Match::Yes, _) => return lets_in,
            (Match::Maybe, true) => return true,
        }
    }
    false
}

fn is_for_address(line: &Line, from: IpAddr) -> Match {
    let Some(address) = line.address.as_deref() else {
        return Match::Maybe;
    };
    let is_any_kind = line.kind == "host";
    let found = match (address, address.parse::<IpAddr>()) {
        ("all", _) => Match::Yes,
        ("samehost", _) if from.is_loopback() => Match::Yes,
        ("samehost" | "samenet", _) | (_, Err(_)) => Match::Maybe,
        (_, Ok(address)) => {
            let mask = line.netmask.as_deref().and_then(|mask| mask.parse().ok());
            match mask.map(|mask| is_within(from, address, mask)) {
                Some(true) => Match::Yes,
                Some(false) => Match::No,
                None => Match::Maybe,
            }
        }
    };
    match (found, is_any_kind) {
        (Match::Yes, false) => Match::Maybe,
        (Match::Yes | Match::No | Match::Maybe, _) => found,
    }
}

fn is_within(from: IpAddr, network: IpAddr, mask: IpAddr) -> bool {
    match (from, network, mask) {
        (IpAddr::V4(from), IpAddr::V4(network), IpAddr::V4(mask)) => {
            from.to_bits() & mask.to_bits() == network.to_bits() & mask.to_bits()
        }
        (IpAddr::V6(from), IpAddr::V6(network), IpAddr::V6(mask)) => {
            from.to_bits() & mask.to_bits() == network.to_bits() & mask.to_bits()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `host replication user 10.0.0.0 255.0.0.0 method`, one line each.
    fn lines(text: &str) -> Vec<Line> {
        let line = |(number, line): (u32, &str)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let word = |at: usize| words.get(at).map(|it| (*it).to_owned());
            let list = |at: usize| {
                let words = words[at].split(',');
                words.map(str::to_owned).collect()
            };
            let is_masked = words.len() == 6;
            Line {
                number,
                kind: words[0].to_owned(),
                databases: list(1),
                users: list(2),
                address: word(3).filter(|_| words[0] != "local"),
                netmask: word(4).filter(|_| is_masked),
                method: words[words.len() - 1].to_owned(),
                error: None,
            }
        };
        (1..).zip(text.lines()).map(line).collect()
    }

    #[test]
    fn a2_the_first_line_that_is_meant_decides() {
        let check = |text: &str, from: Option<&str>, expected: Option<bool>| {
            let receiver = Receiver {
                user: "r".to_owned(),
                address: from.map(|it| it.parse().unwrap()),
                slot: None,
            };
            let groups = |_: &str| vec!["standbys".to_owned()];
            let found = missing(&lines(text), &[receiver.clone(), receiver], groups, "hba");
            let found: Vec<_> = found.iter().map(|it| it.is_needed).collect();
            let expected: Vec<bool> = expected.into_iter().collect();
            assert_eq!(found, expected, "{from:?}\n{text}");
        };
        let default =
            "local replication all trust\nhost replication all 127.0.0.1 255.255.255.255 trust";
        let far = Some("10.0.0.2");
        check(default, Some("127.0.0.1"), None);
        check(default, far, Some(false));
        check(default, None, None);
        check("host all all 0.0.0.0 0.0.0.0 trust", far, Some(true));
        check("host all all 0.0.0.0 0.0.0.0 trust", None, Some(true));
        check("host replication other all trust", far, Some(true));
        check("host replication other,r all trust", far, None);
        check("host replication +standbys all trust", far, None);
        check("host replication +others all trust", far, Some(true));
        check("host replication /^r all trust", far, None);
        check("host replication r 10.0.0.0 255.255.255.0 md5", far, None);
        check(
            "host replication r 10.0.1.0 255.255.255.0 md5",
            far,
            Some(false),
        );
        check("host replication r ::1 ffff:: md5", far, Some(false));
        check(
            "host replication r fe80:: ffff:: md5",
            Some("fe80::1"),
            None,
        );
        // Over TLS or not, by a name, on a network of the server's: who knows.
        check("hostssl replication r 10.0.0.0 255.0.0.0 md5", far, None);
        check("host replication r db.example md5", far, None);
        check("host replication r samenet md5", far, None);
        let refused =
            "host replication all 10.0.0.0 255.255.255.0 reject\nhost replication r all md5";
        check(refused, far, Some(false));
        check(refused, Some("10.0.1.2"), None);
        check(
            "hostnossl replication r all reject\nhostssl replication r all md5",
            far,
            None,
        );
        check("host replication r all reject", None, Some(true));
        check("", far, Some(true));
    }

    #[test]
    fn a2_a_line_that_is_wrong_is_named() {
        let mut read = lines("host replication r all md5\nhost replication r all md6");
        read[1].error = Some("invalid authentication method \"md6\"".to_owned());
        let found = missing(&read, &[], |_| vec![], "/etc/hba");
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .what
                .starts_with("line 2 of /etc/hba is wrong: invalid")
        );
        let odd = lack("we \"ird", "fe80::1".parse().ok(), true, "hba");
        assert!(
            odd.mend
                .contains(r#"replication "we ""ird" fe80::1/128 scram"#),
            "{}",
            odd.mend
        );
    }
}
