//! The SSL modes of libpq, with real certificates and a real server.

use std::path::PathBuf;

use primacy::provider::postgres::{Login, Password};
use primacy::provider::{DatabaseProvider, Phase, Postgres, ProviderError};
use primacy::security::certificate::to_pem;
use primacy::security::{DatabaseFiles, DatabaseTls, SslMode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::servers::{Host, SECRET, Server, login};
use crate::stage::LONG;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A key in PEM.
fn key_pem(key: &KeyPair) -> String {
    let body = data_encoding::BASE64.encode(&key.serialize_der());
    let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

/// A certificate and its key: with these alternative names, or with this common name alone.
fn certificate(by: &Authority, names: &[&str], common_name: &str) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let key = KeyPair::generate().unwrap();
    let made = params.signed_by(&key, by).unwrap();
    (to_pem(&[made.der().clone()]), key_pem(&key))
}

struct Tls {
    host: Host,
    server: Server,
    trusted: Authority,
    trusted_file: PathBuf,
    unknown_file: PathBuf,
}

impl Tls {
    /// A server that takes nobody over the network but with TLS.
    async fn start() -> Tls {
        let host = Host::new();
        let (trusted, unknown) = (authority("trusted"), authority("unknown"));
        let trusted_file = host.file("trusted.pem", to_pem(&[trusted.der().clone()]));
        let unknown_file = host.file("unknown.pem", to_pem(&[unknown.der().clone()]));
        let (own, key) = certificate(&trusted, &["localhost"], "x");
        let (own, key) = (host.file("own.pem", own), host.file("own.key", key));
        let settings = format!(
            "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'\n",
            own.display(),
            key.display(),
            trusted_file.display()
        );
        let server = host.primary("p1", &settings).await;
        let rules = "local all all trust\nhostssl all shown 127.0.0.1/32 cert\n\
                     hostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(server.data.join("pg_hba.conf"), rules).unwrap();
        server.sql("CREATE ROLE shown LOGIN; GRANT pg_monitor TO shown");
        server.sql("SELECT pg_reload_conf()");
        Tls {
            host,
            server,
            trusted,
            trusted_file,
            unknown_file,
        }
    }

    async fn ask(
        &self,
        host: &str,
        mode: SslMode,
        authorities: Option<&PathBuf>,
    ) -> Result<bool, ProviderError> {
        let files = DatabaseFiles {
            authorities: authorities.cloned(),
            own: None,
        };
        let tls = DatabaseTls::read(mode, &files).unwrap();
        let provider = Postgres::new(login(Password::Text(SECRET.to_owned()), tls));
        let mut at = self.server.address.clone();
        at.host = host.to_owned();
        provider.is_read_only(&at, LONG).await
    }
}

#[track_caller]
fn is_refused(found: Result<bool, ProviderError>, words: &str) {
    let error = found.unwrap_err();
    assert!(
        matches!(
            error,
            ProviderError::Unreachable {
                phase: Phase::Tls,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!error.evidence_of_death());
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains(words), "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a49_ssl_modes_differ_as_libpqs_do() {
    let tls = Tls::start().await;
    let (trusted, unknown) = (Some(&tls.trusted_file), Some(&tls.unknown_file));
    // The certificate is of `localhost`; PostgreSQL listens on the IPv4 address of that name.
    let (right, other) = ("localhost", "127.0.0.1");
    for (host, mode, authorities) in [
        (right, SslMode::Require, None),
        (other, SslMode::Require, None),
        (other, SslMode::Require, trusted),
        (right, SslMode::VerifyCa, trusted),
        (other, SslMode::VerifyCa, trusted),
        (right, SslMode::VerifyFull, trusted),
    ] {
        let found = tls.ask(host, mode, authorities).await;
        assert!(found.is_ok(), "{host} {mode:?} {authorities:?}: {found:?}");
    }
    is_refused(
        tls.ask(other, SslMode::VerifyFull, trusted).await,
        "not valid for name",
    );
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        is_refused(
            tls.ask(right, mode, unknown).await,
            "no authority that we trust",
        );
    }
    let plain = tls.ask(right, SslMode::Disable, None).await.unwrap_err();
    assert!(matches!(plain, ProviderError::AuthFailed(_)), "{plain:?}");
    assert!(!plain.evidence_of_death());
    // The password is bound to the channel.
    let log = std::fs::read_to_string(tls.server.log()).unwrap();
    assert!(!log.contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a49_names_certificates_of_ones_own_and_servers_without() {
    let tls = Tls::start().await;
    let trusted = Some(&tls.trusted_file);
    let put = |own: &str, key: &str| {
        tls.host.file("own.pem", own);
        tls.host.file("own.key", key);
        tls.server.sql("SELECT pg_reload_conf()");
    };
    // A common name counts where there is no other name.
    let (own, key) = certificate(&tls.trusted, &[], "localhost");
    put(&own, &key);
    let found = until_ok(|| tls.ask("localhost", SslMode::VerifyFull, trusted)).await;
    assert!(found.is_ok(), "{found:?}");
    // A certificate that signs itself, trusted as it is.
    let itself = authority("localhost");
    let key = key_pem(itself.key());
    put(&to_pem(&[itself.der().clone()]), &key);
    let file = tls.host.file("itself.pem", to_pem(&[itself.der().clone()]));
    let found = until_ok(|| tls.ask("localhost", SslMode::VerifyFull, Some(&file))).await;
    assert!(found.is_ok(), "{found:?}");
    is_refused(
        tls.ask("localhost", SslMode::VerifyCa, trusted).await,
        "no authority that we trust",
    );
    // Who shows a certificate needs no password.
    let (own, key) = certificate(&tls.trusted, &[], "shown");
    let own = (
        tls.host.file("shown.pem", own),
        tls.host.file("shown.key", key),
    );
    for (own, works) in [(Some(own), true), (None, false)] {
        let files = DatabaseFiles {
            authorities: None,
            own,
        };
        let login = Login {
            user: "shown".to_owned(),
            ..login(
                Password::None,
                DatabaseTls::read(SslMode::Require, &files).unwrap(),
            )
        };
        let found = Postgres::new(login)
            .is_read_only(&tls.server.address, LONG)
            .await;
        assert_eq!(found.is_ok(), works, "{found:?}");
        assert!(found.err().is_none_or(|it| it.is_answer()));
    }
    // A server that speaks no TLS says so; that is no death.
    let plain = tls.host.primary("p2", "").await;
    let files = DatabaseFiles::default();
    let require = DatabaseTls::read(SslMode::Require, &files).unwrap();
    let provider = Postgres::new(login(Password::Text(SECRET.to_owned()), require));
    let found = provider.is_read_only(&plain.address, LONG).await;
    is_refused(found, "does not speak TLS");
}

/// libpq tells it whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn a49_a_password_is_told_in_clear_to_nobody_who_is_not_verified() {
    let tls = Tls::start().await;
    let rules = "local all all password\nhost all all 127.0.0.1/32 password\n";
    std::fs::write(
        tls.server.data.join("pg_hba.conf"),
        format!("local all postgres trust\n{rules}"),
    )
    .unwrap();
    tls.server.sql("SELECT pg_reload_conf()");
    let trusted = Some(&tls.trusted_file);
    let verified = until_ok(|| tls.ask("localhost", SslMode::VerifyFull, trusted)).await;
    assert!(verified.is_ok(), "{verified:?}");
    let socket = tls.host.folder.path().to_str().unwrap();
    for (host, mode, authorities, is_told) in [
        ("localhost", SslMode::Disable, None, false),
        ("localhost", SslMode::Require, None, false),
        ("127.0.0.1", SslMode::Require, trusted, true),
        ("127.0.0.1", SslMode::VerifyCa, trusted, true),
        (socket, SslMode::Disable, None, true),
    ] {
        let found = tls.ask(host, mode, authorities).await;
        assert_eq!(found.is_ok(), is_told, "{host} {mode:?}: {found:?}");
        if let Err(error) = found {
            assert!(matches!(error, ProviderError::AuthFailed(_)), "{error:?}");
            assert!(!error.evidence_of_death() && error.to_string().contains("in clear"));
        }
    }
}

/// New certificates are in force a moment after the reload.
async fn until_ok<F: Future<Output = Result<bool, ProviderError>>>(
    mut ask: impl FnMut() -> F,
) -> Result<bool, ProviderError> {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let found = ask().await;
        if found.is_ok() || tokio::time::Instant::now() > deadline {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
