//! `synchronous_standby_names`: read (`syncrep_gram.y`), written and changed.

use std::collections::BTreeSet;

use tokio::time::sleep;

use super::call::Call;
use super::remote::{AGAIN, Postgres};
use super::session::Session;
use super::settings::write;
use super::snapshot::Snapshot;
use crate::model::{Address, Role, SyncPolicy};
use crate::provider::{Operation, ProviderError, Result};

const NAMES: &str = "synchronous_standby_names";

/// What a setting says; none if it is written in a way that PostgreSQL would refuse.
pub fn parse(text: &str) -> Option<SyncPolicy> {
    let words = Words { rest: text };
    let mut after = words.clone();
    let first = after.next()?;
    let mut listed = after.clone();
    let second = listed.next()?;
    let number = |word: &Word| match word {
        Word::Plain(digits) => digits.parse::<u8>().ok().filter(|n| *n > 0),
        Word::Quoted(_) | Word::Open | Word::Close | Word::Comma | Word::End => None,
    };
    let keyword = match first {
        Word::End => return Some(SyncPolicy::Async),
        Word::Plain(word) if word.eq_ignore_ascii_case("any") => Some(true),
        Word::Plain(word) if word.eq_ignore_ascii_case("first") => Some(false),
        _ => None,
    };
    let (any, n, names) = match (keyword, &second) {
        (_, Word::Open) => (false, number(&first)?, names(listed, Word::Close)?),
        (Some(any), Word::Plain(_)) if listed.next()? == Word::Open => {
            (any, number(&second)?, names(listed, Word::Close)?)
        }
        _ => (false, 1, names(words, Word::End)?),
    };
    Some(match any {
        true => SyncPolicy::Any {
            n,
            of: names.into_iter().collect(),
        },
        false => SyncPolicy::First { n, of: names },
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Word<'a> {
    /// A name, a number or a keyword.
    Plain(&'a str),
    /// A name and nothing else.
    Quoted(String),
    Open,
    Close,
    Comma,
    End,
}

/// What is still to be read.
#[derive(Debug, Clone)]
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// The next one; none if PostgreSQL would not know it.
    fn next(&mut self) -> Option<Word<'a>> {
        const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];
        self.rest = self.rest.trim_start_matches(SPACE);
        let rest = self.rest;
        let Some(first) = rest.chars().next() else {
            return Some(Word::End);
        };
        let until = |ends: fn(char) -> bool| rest.find(ends).unwrap_or(rest.len());
        let (word, length) = match first {
            '(' => (Word::Open, 1),
            ')' => (Word::Close, 1),
            ',' => (Word::Comma, 1),
            '*' => (Word::Quoted("*".to_owned()), 1),
            '"' => {
                let (name, length) = quoted(rest)?;
                (Word::Quoted(name), length)
            }
            '0'..='9' => {
                let length = until(|c| !c.is_ascii_digit());
                (Word::Plain(&rest[..length]), length)
            }
            first if is_name(first) => {
                let length = until(|c| !(is_name(c) || c.is_ascii_digit() || c == '$'));
                (Word::Plain(&rest[..length]), length)
            }
            _ => return None,
        };
        self.rest = &rest[length..];
        Some(word)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// A name in double quotes and how long it is with them; none if they do not end.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            name.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return Some((name, at + 1)).filter(|(name, _)| !name.is_empty());
        }
    }
    None
}

/// Names between commas up to `end`, behind which there is nothing.
fn names(mut words: Words<'_>, end: Word<'_>) -> Option<Vec<String>> {
    let mut names = vec![];
    loop {
        names.push(match words.next()? {
            Word::Plain(name) => name.to_owned(),
            Word::Quoted(name) => name,
            Word::Open | Word::Close | Word::Comma | Word::End => return None,
        });
        match words.next()? {
            Word::Comma => {}
            word if word == end => break,
            _ => return None,
        }
    }
    (end == Word::End || words.next()? == Word::End).then_some(names)
}

/// A policy as PostgreSQL has it. Errors: `Unsupported`; `Precondition` for more standbys than there are names.
pub fn written(policy: &SyncPolicy) -> Result<String> {
    let (word, n, names) = match policy {
        SyncPolicy::Async => return Ok(String::new()),
        SyncPolicy::Any { n, of } => ("ANY", *n, of.iter().collect::<Vec<_>>()),
        SyncPolicy::First { n, of } => ("FIRST", *n, of.iter().collect()),
        SyncPolicy::SemiSync { .. } => {
            return Err(ProviderError::Unsupported {
                operation: "semi-synchronous replication",
                why: Some("PostgreSQL waits for as long as it takes; name standbys"),
            });
        }
    };
    let different: BTreeSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
    let wrong = |why: &str| Err(ProviderError::Precondition(why.to_owned()));
    if n == 0 {
        return wrong("no commit waits for no standby; say async");
    }
    if different.len() < usize::from(n) && !different.contains("*") {
        return wrong(
            "it asks for more standbys than it names, so that no commit would ever return",
        );
    }
    if names
        .iter()
        .any(|name| name.is_empty() || name.contains('\0'))
    {
        return wrong("a standby without a name");
    }
    let quoted = names
        .iter()
        .map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    Ok(format!(
        "{word} {n} ({})",
        quoted.collect::<Vec<_>>().join(", ")
    ))
}

impl Postgres {
    pub(super) async fn change_sync(
        &self,
        by: &Operation,
        of: &Address,
        policy: &SyncPolicy,
    ) -> Result<()> {
        let wanted = written(policy)?;
        self.epochs.admit(by)?;
        let call = Call::begin("set what commits wait for", by.within);
        call.run(async {
            let (session, seen) = self.seen(&call, of).await?;
            if by.dry_run || seen.synchronous_standby_names == wanted {
                self.keep(of, session);
                return Ok(());
            }
            let made = write(&call, &session, NAMES, &wanted)
                .await
                .map(|()| session);
            let is_so = |seen: &Snapshot| Ok(seen.synchronous_standby_names == wanted);
            let (session, seen) = self.settled(&call, of, made, is_so).await?;
            if seen.role() == Role::Primary {
                until_senders_know(&call, &session, policy).await?;
            }
            self.keep(of, session);
            Ok(())
        })
        .await
    }
}

/// Waits until every walsender counts its standby by this policy: each reads the settings for itself.
async fn until_senders_know(call: &Call, session: &Session, policy: &SyncPolicy) -> Result<()> {
    let names: BTreeSet<String> = match policy {
        SyncPolicy::Any { of, .. } => of.iter().map(|it| it.to_lowercase()).collect(),
        SyncPolicy::First { of, .. } => of.iter().map(|it| it.to_lowercase()).collect(),
        SyncPolicy::Async | SyncPolicy::SemiSync { .. } => BTreeSet::new(),
    };
    loop {
        let statement = "SELECT lower(application_name), sync_state FROM pg_stat_replication";
        let senders = session.ask(call, statement).await?;
        let is_so = senders.iter().all(|row| {
            let named = names.contains("*") || names.contains(row.get(0).unwrap_or_default());
            named == (row.get(1) != Some("async"))
        });
        if is_so {
            return Ok(());
        }
        sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(n: u8, of: &[&str]) -> SyncPolicy {
        SyncPolicy::Any {
            n,
            of: of.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    fn first(n: u8, of: &[&str]) -> SyncPolicy {
        SyncPolicy::First {
            n,
            of: of.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("", Some(SyncPolicy::Async)),
            (" \n", Some(SyncPolicy::Async)),
            ("s1", Some(first(1, &["s1"]))),
            ("s1, s2", Some(first(1, &["s1", "s2"]))),
            ("*", Some(first(1, &["*"]))),
            ("2 (s1, \"s 2\", *)", Some(first(2, &["s1", "s 2", "*"]))),
            ("FIRST 2(a,b)", Some(first(2, &["a", "b"]))),
            ("any 1 (\"s\"\"1\", s2)", Some(any(1, &["s\"1", "s2"]))),
            ("any", Some(first(1, &["any"]))),
            ("first, any", Some(first(1, &["first", "any"]))),
            ("any (a)", None),
            ("any 0 (a)", None),
            ("ANY 1 a", None),
            ("a b", None),
            ("a,", None),
            ("\"a", None),
            ("\"\"", None),
            ("1 (", None),
            ("a-b", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for policy in [
            SyncPolicy::Async,
            any(1, &["s1", "s 2", "s\"3", "any"]),
            first(2, &["b", "a", "é"]),
        ] {
            assert_eq!(parse(&written(&policy).unwrap()), Some(policy));
        }
        for wrong in [
            any(2, &["a"]),
            any(2, &["a", "A"]),
            first(0, &["a"]),
            any(1, &[""]),
        ] {
            let found = written(&wrong);
            assert!(
                matches!(found, Err(ProviderError::Precondition(_))),
                "{found:?}"
            );
        }
        assert!(written(&any(2, &["*"])).is_ok());
    }
}
