//! `name = value` pairs: libpq's `conninfo_parse`.

use super::{Conninfo, ConninfoError, Form, Problem, Setting, is_space, known};

pub(super) fn parse(text: &str) -> Result<Conninfo, ConninfoError> {
    let bytes = text.as_bytes();
    let mut options: Vec<Setting> = vec![];
    let mut at = skip_spaces(bytes, 0);
    while at < bytes.len() {
        let error = |problem, at| ConninfoError {
            problem,
            at,
            within: options.last().and_then(|last| known(&last.name)),
        };
        let start = at;
        while at < bytes.len() && bytes[at] != b'=' && !is_space(bytes[at]) {
            at += 1;
        }
        let name = &text[start..at];
        at = skip_spaces(bytes, at);
        if bytes.get(at) != Some(&b'=') {
            return Err(error(Problem::NoEquals, start));
        }
        if name.is_empty() {
            return Err(error(Problem::NoName, start));
        }
        at = skip_spaces(bytes, at + 1);
        let (value, end) = value(text, at).ok_or(ConninfoError {
            problem: Problem::OpenQuote,
            at,
            within: known(name),
        })?;
        options.push(Setting {
            name: name.to_owned(),
            value,
            whole: start..end,
            value_at: at..end,
        });
        at = skip_spaces(bytes, end);
    }
    Ok(Conninfo {
        text: text.to_owned(),
        form: Form::Keywords,
        options,
    })
}

fn skip_spaces(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && is_space(bytes[at]) {
        at += 1;
    }
    at
}

/// The value that begins at `start`, and where it ends; none if its quote does not.
fn value(text: &str, start: usize) -> Option<(String, usize)> {
    let is_quoted = text[start..].starts_with('\'');
    let first = start + usize::from(is_quoted);
    let mut value = String::new();
    let mut characters = text[first..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if is_quoted => return Some((value, first + at + 1)),
            space if !is_quoted && space.is_ascii() && is_space(space as u8) => {
                return Some((value, first + at));
            }
            other => value.push(other),
        }
    }
    (!is_quoted).then_some((value, text.len()))
}

/// A value as it must be written; in quotes if it needs them or if `keep_quotes`.
pub(super) fn written(value: &str, keep_quotes: bool) -> String {
    let needs = |c: char| c == '\'' || c == '\\' || c.is_ascii() && is_space(c as u8);
    if !keep_quotes && !value.is_empty() && !value.contains(needs) {
        return value.to_owned();
    }
    let escaped = value.replace('\\', r"\\").replace('\'', r"\'");
    format!("'{escaped}'")
}
