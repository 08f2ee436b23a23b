//! Just enough EDN for histories: they pass through the JSON form, so that there is one description of
//! an event. Field names and the words of Jepsen's own fields are keywords; reading takes keywords and
//! strings for the same.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

use super::Event;

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EdnError {
    /// It is no EDN of the kind that histories use.
    #[error("line {line}: {what}")]
    Syntax {
        /// Counts from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A form is no event.
    #[error("form {number} is no event")]
    Event {
        /// Counts from 1.
        number: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// One event as one line.
pub(super) fn write(event: &Event) -> String {
    let value = serde_json::to_value(event).expect("an event has no map with odd keys");
    let mut text = String::new();
    write_form(&mut text, &value, Word::Text);
    text.push('\n');
    text
}

/// The events of a text: forms one after the other, or one vector of them.
pub(super) fn read(text: &str) -> Result<Vec<Event>, EdnError> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let mut forms = reader.forms(None)?;
    if let [Value::Array(inner)] = forms.as_mut_slice() {
        forms = std::mem::take(inner);
    }
    let events = (1..).zip(forms).map(|(number, form)| {
        serde_json::from_value(form).map_err(|source| EdnError::Event { number, source })
    });
    events.collect()
}

/// How a string is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Keyword,
    Text,
}

fn write_form(text: &mut String, value: &Value, word: Word) {
    match value {
        Value::Null => text.push_str("nil"),
        Value::Bool(it) => put(text, it),
        Value::Number(it) => put(text, it),
        Value::String(it) if word == Word::Keyword => {
            text.push(':');
            text.push_str(it);
        }
        // JSON escapes what EDN does.
        Value::String(_) => put(text, value),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(' ');
                }
                let is_micro = position == 0 && matches!(item.as_str(), Some("append" | "r"));
                let word = if is_micro { Word::Keyword } else { Word::Text };
                write_form(text, item, word);
            }
            text.push(']');
        }
        Value::Object(fields) => write_map(text, fields),
    }
}

fn write_map(text: &mut String, fields: &Map<String, Value>) {
    // Jepsen's order first, so that people can read it.
    const FIRST: [&str; 6] = ["index", "type", "process", "f", "value", "time"];
    let rank = |key: &str| FIRST.iter().position(|first| *first == key);
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| (rank(key).unwrap_or(FIRST.len()), (*key).clone()));
    text.push('{');
    for (position, (key, value)) in sorted.into_iter().enumerate() {
        if position > 0 {
            text.push_str(", ");
        }
        // The balances of a bank are keyed by number.
        if key.parse::<i64>().is_err() {
            text.push(':');
        }
        text.push_str(key);
        text.push(' ');
        let is_word = matches!(key.as_str(), "type" | "process" | "f");
        let word = if is_word { Word::Keyword } else { Word::Text };
        write_form(text, value, word);
    }
    text.push('}');
}

fn put(text: &mut String, value: &impl std::fmt::Display) {
    write!(text, "{value}").expect("a string takes everything");
}

/// Forms within each other: histories have six, and each takes a part of the stack.
const DEEPEST: usize = 64;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Of the form that is being read.
    depth: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: impl Into<String>) -> EdnError {
        EdnError::Syntax {
            line: self.text[..self.at].lines().count().max(1),
            what: what.into(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self) {
        while let Some(next) = self.peek() {
            if next.is_whitespace() || next == ',' {
                self.at += next.len_utf8();
            } else if next == ';' {
                let rest = &self.text[self.at..];
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else {
                break;
            }
        }
    }

    /// Forms up to `close`, or to the end.
    fn forms(&mut self, close: Option<char>) -> Result<Vec<Value>, EdnError> {
        let mut found = vec![];
        loop {
            self.skip();
            match (self.peek(), close) {
                (None, None) => return Ok(found),
                (None, Some(close)) => return Err(self.wrong(format!("{close} is missing"))),
                (next, Some(close)) if next == Some(close) => {
                    self.at += close.len_utf8();
                    return Ok(found);
                }
                (Some(_), _) => found.push(self.form()?),
            }
        }
    }

    fn form(&mut self) -> Result<Value, EdnError> {
        if self.depth == DEEPEST {
            return Err(self.wrong(format!("more than {DEEPEST} forms stand within each other")));
        }
        self.depth += 1;
        let form = self.form_within();
        self.depth -= 1;
        form
    }

    fn form_within(&mut self) -> Result<Value, EdnError> {
        self.skip();
        let rest = &self.text[self.at..];
        match rest.chars().next() {
            Some('[') => self.sequence(']').map(Value::Array),
            Some('(') => self.sequence(')').map(Value::Array),
            Some('{') => self.map(),
            Some('"') => self.string(),
            Some('#') => {
                // A tagged form, such as Jepsen's #jepsen.history.Op{…}: the tag says nothing new.
                self.at += 1;
                self.word();
                self.form()
            }
            Some(next) => match self.word() {
                "" => Err(self.wrong(format!("{next} is not expected"))),
                word => Ok(atom(word)),
            },
            None => Err(self.wrong("the text ends too early")),
        }
    }

    fn sequence(&mut self, close: char) -> Result<Vec<Value>, EdnError> {
        self.at += 1;
        self.forms(Some(close))
    }

    fn map(&mut self) -> Result<Value, EdnError> {
        let mut items = self.sequence('}')?.into_iter();
        let mut fields = Map::new();
        while let Some(key) = items.next() {
            let key = match key {
                Value::String(word) => word,
                Value::Number(number) => number.to_string(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(self.wrong("a key of a map is neither a word nor a number"));
                }
            };
            let Some(value) = items.next() else {
                return Err(self.wrong("a map has a key without a value"));
            };
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }

    fn string(&mut self) -> Result<Value, EdnError> {
        let rest = &self.text[self.at..];
        let mut parsed = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match parsed.next() {
            Some(Ok(value)) => {
                self.at += parsed.byte_offset();
                Ok(value)
            }
            _ => Err(self.wrong("a string does not end")),
        }
    }

    fn word(&mut self) -> &str {
        let rest = &self.text[self.at..];
        let is_end = |next: char| next.is_whitespace() || ",;()[]{}\"".contains(next);
        let end = rest.find(is_end).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

fn atom(word: &str) -> Value {
    match word {
        "nil" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => {
            let number = || word.parse::<i64>().ok().map(Number::from);
            let name = word.strip_prefix(':').unwrap_or(word);
            number().map_or_else(|| Value::from(name), Value::Number)
        }
    }
}
