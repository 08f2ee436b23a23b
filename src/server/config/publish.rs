//! Where it is published which instance is the primary of a cluster: the table `[publish]`.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use serde::Deserialize;

use super::ConfigError;
use crate::config::SecretText;

/// Below it stand the clusters.
const PREFIX: &str = "pg/primary";
/// The most bytes of a prefix.
const PREFIX_LIMIT: usize = 128;
/// The most webhooks: each is sent every change.
const WEBHOOKS: usize = 8;

/// Where it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Before the name of a cluster in a key.
    pub prefix: String,
    /// Whom the leader writes the keys to.
    pub consul: Option<Consul>,
    /// Whom the leader tells of changes.
    pub webhooks: Vec<Webhook>,
    /// Whose word is taken for who answers at an `https` URL: certificates in PEM.
    pub ca: Option<PathBuf>,
}

/// A store of keys and values with Consul's HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consul {
    /// `http://HOST:PORT` or `https://…`, without a path.
    pub url: Uri,
    /// Holds the token to show, read for each call.
    pub token_file: Option<PathBuf>,
}

/// Where a change is told. Often the path is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    url: Uri,
}

impl Webhook {
    #[cfg(test)]
    pub(in crate::server) fn to(url: Uri) -> Webhook {
        Webhook { url }
    }

    /// All of it. Never shown.
    pub fn url(&self) -> &Uri {
        &self.url
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.authority().map_or("", |it| it.as_str()))
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({self}/..)")
    }
}

/// The table `[publish]`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    prefix: Option<String>,
    consul: Option<String>,
    consul_token_file: Option<PathBuf>,
    #[serde(default)]
    webhooks: Vec<SecretText>,
    ca: Option<PathBuf>,
}

pub(super) fn checked(table: Table) -> Result<Publish, ConfigError> {
    let refuse = |why: String| Err(ConfigError(format!("publish: {why}")));
    let prefix = table.prefix.unwrap_or_else(|| PREFIX.to_owned());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let is_path = !prefix.split('/').any(str::is_empty);
    if prefix.len() > PREFIX_LIMIT || !prefix.bytes().all(is_plain) || !is_path {
        return refuse(format!(
            "prefix: '{prefix}' is none of words of a-z, A-Z, 0-9, '-', '_' and '.' with '/' between them, at most \
             {PREFIX_LIMIT} bytes; write for example {PREFIX}"
        ));
    }
    if table.consul.is_none() && table.consul_token_file.is_some() {
        return refuse(
            "consul_token_file: consul is missing; name its URL, or leave the token out".to_owned(),
        );
    }
    let consul = table.consul.map(|text| {
        let url = url("consul", &text)?;
        match url.path() {
            "" | "/" if url.query().is_none() => Ok(url),
            _ => Err(ConfigError(
                "publish: consul: it has a path; write http://HOST:PORT".to_owned(),
            )),
        }
    });
    let consul = consul.transpose()?;
    if table.webhooks.len() > WEBHOOKS {
        return refuse(format!("webhooks: there are more than {WEBHOOKS}"));
    }
    let webhooks = table.webhooks.iter().enumerate();
    let webhooks: Vec<Webhook> = webhooks
        .map(|(at, text)| {
            Ok(Webhook {
                url: url(&format!("webhooks[{at}]"), &text.0)?,
            })
        })
        .collect::<Result<_, ConfigError>>()?;
    let urls = consul.iter().chain(webhooks.iter().map(Webhook::url));
    let is_secure = urls
        .into_iter()
        .any(|url| url.scheme_str() == Some("https"));
    match (&table.ca, is_secure) {
        (None, true) => {
            return refuse(
                "ca: it is missing, and a URL begins with https; name a file of authorities, for example \
                 /etc/ssl/certs/ca-certificates.crt"
                    .to_owned(),
            );
        }
        (Some(_), false) => {
            return refuse("ca: no URL begins with https; leave it out".to_owned());
        }
        (Some(_), true) | (None, false) => {}
    }
    Ok(Publish {
        prefix,
        consul: consul.map(|url| Consul {
            url,
            token_file: table.consul_token_file,
        }),
        webhooks,
        ca: table.ca,
    })
}

/// An absolute URL of HTTP. What is wrong is said without showing it: it may hold a secret.
fn url(field: &str, text: &str) -> Result<Uri, ConfigError> {
    let refuse = |why: &str| {
        Err(ConfigError(format!(
            "publish: {field}: {why}; write http://HOST:PORT or https://HOST and a path"
        )))
    };
    let Ok(url) = text.parse::<Uri>() else {
        return refuse("it is no URL");
    };
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return refuse("it does not begin with http:// or https://");
    }
    match url.authority() {
        Some(authority) if authority.host().is_empty() => refuse("it names no host"),
        Some(authority) if authority.as_str().contains('@') => {
            refuse("it holds a name or a password before the host, which is not sent")
        }
        Some(_) => Ok(url),
        None => refuse("it names no host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Publish, String> {
        let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
        checked(table).map_err(|ConfigError(why)| why)
    }

    #[test]
    fn what_is_wrong_is_named_and_a_secret_path_is_not_shown() {
        let none = parse("").unwrap();
        assert_eq!((none.prefix.as_str(), none.webhooks.len()), (PREFIX, 0));
        let all = parse(
            "prefix = 'db/main'\nconsul = 'http://127.0.0.1:8500'\nconsul_token_file = '/t'\n\
             webhooks = ['https://hooks.example/s3cret']\nca = '/ca.pem'",
        )
        .unwrap();
        assert_eq!(all.consul.as_ref().unwrap().url.port_u16(), Some(8500));
        assert_eq!(all.webhooks[0].url().path(), "/s3cret");
        assert!(!format!("{all:?} {}", all.webhooks[0]).contains("s3cret"));
        for (text, part) in [
            ("prefix = '/a'", "prefix: '/a'"),
            ("prefix = 'a b'", "prefix: 'a b'"),
            ("prefix = ''", "prefix: ''"),
            (
                "consul_token_file = '/t'",
                "consul_token_file: consul is missing",
            ),
            ("consul = 'http://c:1/v1'", "consul: it has a path"),
            ("consul = 'c:8500'", "consul: it does not begin"),
            (
                "webhooks = ['ftp://h/s3cret']",
                "webhooks[0]: it does not begin",
            ),
            ("webhooks = ['http://u:s3cret@h/']", "webhooks[0]: it holds"),
            (
                "webhooks = ['http://h/', '/s3cret']",
                "webhooks[1]: it does not begin",
            ),
            ("webhooks = ['https://h/s3cret']", "ca: it is missing"),
            ("ca = '/x'", "ca: no URL"),
            ("webhooks = [1]", "in quotes"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
