//! Reading a configuration file: TOML whose errors are one sentence that names the line, the field and the
//! next step. What the fields mean and how they contradict each other is the matter of who has the file.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Deserializer;

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

/// A join token as it stands in a file: it holds a secret, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct JoinText(pub String);

impl std::fmt::Debug for JoinText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinText(..)")
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

/// The value of TOML text. `sample` is the path of a file that shows every field.
/// Errors: one sentence.
pub fn read<T: DeserializeOwned>(text: &str, sample: &str) -> Result<T, String> {
    let document = Deserializer::parse(text)
        .map_err(|error| format!("{}: {}; correct it", line(text, &error), said(&error)))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path();
        let within = path.iter().next().map(|_| path.to_string());
        let (line, said) = (line(text, error.inner()), said(error.inner()));
        if let Some(field) = missing(&said) {
            let field = within.map_or(field.to_owned(), |table| format!("{table}.{field}"));
            return format!("`{field}` is missing; add it, {sample} shows how");
        }
        if said.starts_with("unknown field") {
            return format!("{line}: {said}; correct or remove it");
        }
        match within {
            Some(field) => format!("{line}: `{field}`: {said}; correct it, {sample} shows how"),
            None => format!("{line}: {said}; correct it"),
        }
    })
}

fn line(text: &str, error: &toml::de::Error) -> String {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    format!("line {}", before.matches('\n').count() + 1)
}

fn said(error: &toml::de::Error) -> String {
    error.message().replace('\n', ", ")
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
                "line 3: unknown field `prot`, expected one of `port`, `listen`, `names`, `peers`, `role`; correct or remove it",
            ),
            (
                "port = 1\nnames = []\n[role]\nuser = \"x\"\npass = 2",
                "line 5: unknown field `pass`, expected `user`; correct or remove it",
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
    fn the_fields_of_a_table_are_known() {
        assert_eq!(
            fields::<Server>(""),
            ["port", "listen", "names", "peers", "role"]
        );
        assert_eq!(fields::<Server>("[role]"), ["user"]);
        assert_eq!(all_given("# text\n#a = 1\nb = 2"), "# text\na = 1\nb = 2");
    }
}
