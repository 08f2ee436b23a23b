//! Reading libpq's `keyword = value` connection strings.

use std::collections::BTreeMap;

/// The settings of a connection string; what is malformed is left out.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, left) = value(after.trim_start());
        found.insert(key.trim().to_owned(), value);
        rest = left.trim_start();
    }
    found
}

fn value(text: &str) -> (String, &str) {
    let is_quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if is_quoted => return (value, &text[at + 1..]),
            space if space.is_whitespace() && !is_quoted => return (value, &text[at..]),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings() {
        let found = parse(r"host=10.0.0.1 port = 5432 application_name='a b\'c' fallback_application_name=x password=");
        let of = |key: &str| found.get(key).map(String::as_str);
        assert_eq!(of("host"), Some("10.0.0.1"));
        assert_eq!(of("port"), Some("5432"));
        assert_eq!(of("application_name"), Some("a b'c"));
        assert_eq!(of("password"), Some(""));
        assert_eq!(parse(""), BTreeMap::new());
    }
}
