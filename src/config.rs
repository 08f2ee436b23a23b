//! Reading a configuration file: TOML, or JSON, whose errors are one sentence that names the line, the field and the
//! next step. What the fields mean and how they contradict each other is the matter of who has the file.

use std::fmt;
use std::path::PathBuf;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};

use crate::security::Files;

/// The table `[tls]`: certificates of an authority of the user's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsTable {
    /// Every authority that is trusted.
    pub ca: PathBuf,
    /// The certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A secret as it stands in a file. `Debug` does not show it, nor does what is said of a value that is no text.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretText, D::Error> {
        struct Text;
        /// By itself serde shows the value that it cannot take.
        macro_rules! refuse {
            ($($visit:ident: $value:ty,)*) => {
                $(fn $visit<E: serde::de::Error>(self, _: $value) -> Result<SecretText, E> {
                    Err(E::custom("it must be text, in quotes"))
                })*
            };
        }
        impl Visitor<'_> for Text {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, in quotes")
            }

            fn visit_str<E>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText(text.to_owned()))
            }

            refuse! {
                visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64,
                visit_bytes: &[u8],
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl TlsTable {
    /// The files that it names.
    pub fn files(self) -> Files {
        Files {
            certificate: self.certificate,
            key: self.key,
            authorities: self.ca,
        }
    }
}

/// Whether the text is a JSON object: no TOML begins with a brace.
pub fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The value of TOML or JSON text. `sample` is the path of a file that shows every field.
/// Errors: one sentence.
pub fn read<T: DeserializeOwned>(text: &str, sample: &str) -> Result<T, String> {
    match is_json(text) {
        true => read_json(text, sample),
        false => read_toml(text, sample),
    }
}

fn read_toml<T: DeserializeOwned>(text: &str, sample: &str) -> Result<T, String> {
    let said = |error: &toml::de::Error| error.message().replace('\n', ", ");
    let line = |error: &toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        before.unwrap_or_default().matches('\n').count() + 1
    };
    let document = toml::Deserializer::parse(text)
        .map_err(|error| format!("line {}: {}; correct it", line(&error), said(&error)))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let inner = error.inner();
        sentence(line(inner), error.path(), &said(inner), sample)
    })
}

fn read_json<T: DeserializeOwned>(text: &str, sample: &str) -> Result<T, String> {
    // Without the place, which serde_json writes at the end.
    let said = |error: &serde_json::Error| {
        let said = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        said.strip_suffix(&place).unwrap_or(&said).to_owned()
    };
    let mut document = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let inner = error.inner();
        match inner.is_data() {
            true => sentence(inner.line(), error.path(), &said(inner), sample),
            false => format!("line {}: {}; correct it", inner.line(), said(inner)),
        }
    })?;
    document
        .end()
        .map_err(|error| format!("line {}: {}; correct it", error.line(), said(&error)))?;
    Ok(value)
}

/// What is wrong with a value, in one sentence.
fn sentence(line: usize, path: &serde_path_to_error::Path, said: &str, sample: &str) -> String {
    if let Some(field) = missing(said) {
        let table = path.iter().next().map(|_| path.to_string());
        let field = table.map_or(field.to_owned(), |table| format!("{table}.{field}"));
        return format!("`{field}` is missing; add it, {sample} shows how");
    }
    if let Some((field, nearest)) = unknown(said) {
        return format!(
            "line {line}: unknown field `{field}`, the nearest one that there is is `{nearest}`; correct or remove it, \
             {sample} shows all"
        );
    }
    match path.iter().next() {
        Some(_) => format!("line {line}: `{path}`: {said}; correct it, {sample} shows how"),
        None => format!("line {line}: {said}; correct it"),
    }
}

/// The field that serde does not know, and the one that it knows which is written most alike.
fn unknown(said: &str) -> Option<(&str, &str)> {
    let (field, known) = said.strip_prefix("unknown field `")?.split_once('`')?;
    let alike = |known: &&str| {
        let (field, known) = (field.to_lowercase(), known.to_lowercase());
        strsim::normalized_damerau_levenshtein(&field, &known)
    };
    let quoted = known.split('`').skip(1).step_by(2);
    let nearest = quoted.max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    Some((field, nearest))
}

/// The field that serde says is missing.
fn missing(said: &str) -> Option<&str> {
    said.strip_prefix("missing field `")?.strip_suffix('`')
}

/// The fields that a table of the configuration may have, as its reader knows them. `table` stands above a
/// field that there is not.
#[cfg(test)]
pub(crate) fn fields<T: DeserializeOwned>(table: &str) -> Vec<String> {
    let text = format!("{table}\nno-such-field = 1\n");
    let Err(error) = toml::from_str::<T>(&text) else {
        panic!("a field that there is not is accepted");
    };
    let (_, known) = error
        .message()
        .split_once("expected ")
        .expect("it lists them");
    let quoted = known.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// A sample with every field that it only mentions, as `#field = value`, given.
#[cfg(test)]
pub(crate) fn all_given(sample: &str) -> String {
    let given = |line: &str| match line.strip_prefix('#') {
        Some(field) if !field.starts_with([' ', '#']) => field.to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<_> = sample.lines().map(given).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its reading matters")]
    struct Server {
        port: u16,
        listen: Option<SocketAddr>,
        names: Vec<String>,
        peers: Option<BTreeMap<String, String>>,
        role: Option<Role>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its reading matters")]
    struct Role {
        user: String,
    }

    #[test]
    fn errors_name_the_line_the_field_and_the_next_step() {
        for (text, expected) in [
            (
                "names = []",
                "`port` is missing; add it, docs/x.toml shows how",
            ),
            (
                "port = 1\nnames = []\n[role]\n",
                "`role.user` is missing; add it, docs/x.toml shows how",
            ),
            (
                "names = []\nport = \"x\"",
                "line 2: `port`: invalid type: string \"x\", expected u16; correct it, docs/x.toml shows how",
            ),
            (
                "port = 70000\nnames = []",
                "line 1: `port`: invalid value: integer `70000`, expected u16; correct it, docs/x.toml shows how",
            ),
            (
                "port = 1\nnames = [\"a\", 2]",
                "line 2: `names[1]`: invalid type: integer `2`, expected a string; correct it, docs/x.toml shows how",
            ),
            (
                "port = 1\nnames = []\nlisten = \"here\"",
                "line 3: `listen`: invalid socket address syntax; correct it, docs/x.toml shows how",
            ),
            (
                "port = 1\nnames = []\npeers = {1 = 2}",
                "line 3: `peers.1`: invalid type: integer `2`, expected a string; correct it, docs/x.toml shows how",
            ),
            (
                "port = 1\nnames = []\nprot = 2",
                "line 3: unknown field `prot`, the nearest one that there is is `port`; correct or remove it, docs/x.toml shows all",
            ),
            (
                "port = 1\nnames = []\n[role]\nuser = \"x\"\npass = 2",
                "line 5: unknown field `pass`, the nearest one that there is is `user`; correct or remove it, docs/x.toml shows all",
            ),
            (
                "port = 1\nport = 2\nnames = []",
                "line 2: duplicate key; correct it",
            ),
        ] {
            assert_eq!(read::<Server>(text, "docs/x.toml").unwrap_err(), expected);
        }
        let broken = read::<Server>("port = \n", "docs/x.toml").unwrap_err();
        assert!(broken.starts_with("line 1: ") && broken.ends_with("; correct it"));
        assert!(!broken.contains('\n'), "{broken}");
    }

    #[test]
    fn json_is_read_as_well() {
        let check = |text: &str, expected: &str| {
            let found = read::<Server>(text, "docs/x.toml").map(drop);
            assert_eq!(found.err().unwrap_or_default(), expected, "{text}");
        };
        check(r#"{"port": 1, "names": []}"#, "");
        check(
            "{\n\"names\": []}",
            "`port` is missing; add it, docs/x.toml shows how",
        );
        check(
            "{\"port\": 1, \"names\": [],\n \"Rolle\": {}}",
            "line 2: unknown field `Rolle`, the nearest one that there is is `role`; correct or remove it, \
             docs/x.toml shows all",
        );
        check(
            "{\"port\": 1, \"names\": [],\n\"listen\": \"here\"}",
            "line 2: `listen`: invalid socket address syntax; correct it, docs/x.toml shows how",
        );
        check(
            "{\"port\": 1,\n \"names\": []",
            "line 2: EOF while parsing an object; correct it",
        );
        check(
            "{\"port\": 1, \"names\": []} x",
            "line 1: trailing characters; correct it",
        );
    }

    #[test]
    fn a_secret_is_shown_by_no_error() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Login {
            password: SecretText,
        }
        for text in [
            "{\"password\": 4711}",
            "{\"password\": 47.11}",
            "password = 4711",
            "password = 4711-07-11",
            "password = [4711]",
            "password = {a = 4711}",
            "password = \"4711",
            "{\"password\": \"4711",
        ] {
            let why = read::<Login>(text, "docs/x.toml").unwrap_err();
            assert!(!why.contains("4711") && why.contains("line 1"), "{why}");
        }
        let login: Login = read("{\"password\": \"4711\"}", "docs/x.toml").unwrap();
        assert_eq!(login.password.0, "4711");
        assert!(!format!("{login:?}").contains("4711"));
    }

    #[test]
    fn the_fields_of_a_table_are_known() {
        assert_eq!(
            fields::<Server>(""),
            ["port", "listen", "names", "peers", "role"]
        );
        assert_eq!(fields::<Server>("[role]"), ["user"]);
        assert_eq!(all_given("# text\n#a = 1\nb = 2"), "# text\na = 1\nb = 2");
    }
}
