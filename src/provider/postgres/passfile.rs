//! libpq's password file: `host:port:database:user:password`, the first line that fits.

use crate::model::Address;

/// The password for a session; none if no line fits.
pub fn find(text: &str, of: &Address, database: &str, user: &str) -> Option<String> {
    let port = of.port.to_string();
    let wanted = [of.host.as_str(), &port, database, user];
    let fits = |line: &&str| {
        let fields = fields(line);
        let all = wanted.iter().zip(&fields);
        fields.len() > wanted.len()
            && all
                .into_iter()
                .all(|(wanted, field)| field.is_any || field.text == **wanted)
    };
    let lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut lines = lines.filter(|line| !line.starts_with('#'));
    let line = lines.find(fits)?;
    Some(fields(line).swap_remove(wanted.len()).text).filter(|it| !it.is_empty())
}

struct Field {
    text: String,
    /// A star alone, not escaped.
    is_any: bool,
}

/// The fields of a line, the password last: a colon in it counts as nothing.
fn fields(line: &str) -> Vec<Field> {
    let mut found = vec![];
    let mut text = String::new();
    let mut start = 0;
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            ':' => {
                found.push(Field {
                    is_any: &line[start..at] == "*",
                    text: std::mem::take(&mut text),
                });
                start = at + 1;
                if found.len() == 5 {
                    return found;
                }
            }
            other => text.push(other),
        }
    }
    found.push(Field {
        is_any: &line[start..] == "*",
        text,
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits() {
        let text = "# host:5432:*:u:comment\n\
                    other:5432:*:u:wrong\n\
                    host:5433:postgres:u:of the port\r\n\
                    host:5432:postgres:u\n\
                    h\\:1:*:*:*:of IPv6\n\
                    *:*:*:u:a\\:b\\\\c\n\
                    *:*:*:star\\*:never\n\
                    *:*:*:empty:\n";
        let find = |host: &str, port, user| {
            let of = Address {
                host: host.to_owned(),
                port,
            };
            find(text, &of, "postgres", user)
        };
        assert_eq!(find("host", 5433, "u").as_deref(), Some("of the port"));
        assert_eq!(find("host", 5432, "u").as_deref(), Some(r"a:b\c"));
        assert_eq!(find("h:1", 1, "v").as_deref(), Some("of IPv6"));
        assert_eq!(find("host", 1, "v"), None);
        assert_eq!(find("host", 1, "empty"), None);
        assert_eq!(find("host", 1, "star*").as_deref(), Some("never"));
    }
}
