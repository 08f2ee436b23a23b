//! Certificates and tokens.

use data_encoding::BASE64URL_NOPAD;
use raft::GroupId;
use rustls::pki_types::CertificateDer;

use super::keeps_record;
use crate::model::{ClusterName, InstanceId, PeerId, SecretHash, TokenRecord};
use crate::security::authority::Issued;
use crate::security::certificate::{from_pem, identity, to_pem, validity};
use crate::security::enrolment::{Enrol, Enrolled, MESSAGE_LIMIT, NewKey};
use crate::security::{
    BearerToken, CertificateAuthority, Credentials, Fingerprint, Identity, JoinKind, JoinToken,
    Secret, Who,
};

const GROUP: GroupId = GroupId::from_bytes([7; 16]);
/// 2023, in milliseconds since 1970.
const NOW: u64 = 1_700_000_000_000;

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate(GROUP, NOW).unwrap()
}

fn issued(authority: &CertificateAuthority) -> Issued {
    let hosts = ["db-1.example.com".to_owned(), "10.0.0.1".to_owned()];
    authority.issue(Who::Peer(PeerId(1)), &hosts, NOW).unwrap()
}

fn token() -> JoinToken {
    JoinToken {
        addresses: vec!["10.0.0.1:7001".to_owned(), "db-2:7001".to_owned()],
        authority: Fingerprint([0xCA; 32]),
        group: GROUP,
        kind: JoinKind::Agent,
        secret: Secret::from_bytes([0x5E; 32]),
    }
}

#[test]
fn fuzz_join_token() {
    let keeps = |token: JoinToken| assert_eq!(JoinToken::parse(&token.reveal()), Ok(token));
    fuzz::target("security: join token")
        .example(token().reveal())
        .words(&["primacy-join-1.", "-", "_", "=", ".", " "])
        .run(
            |bytes| JoinToken::parse(&String::from_utf8_lossy(bytes)).ok(),
            keeps,
        );
    fuzz::target("security: join token's record")
        .example(raft::seal(&token()).unwrap())
        .sealed_record(u32::to_le_bytes)
        .run(
            |bytes| {
                JoinToken::parse(&format!("primacy-join-1.{}", BASE64URL_NOPAD.encode(bytes))).ok()
            },
            keeps,
        );
}

#[test]
fn fuzz_bearer_token() {
    let example = format!(
        "primacy-token-1.{}",
        Secret::from_bytes([0x5E; 32]).reveal_text()
    );
    fuzz::target("security: bearer token")
        .example(example)
        .words(&["primacy-token-1.", "Bearer ", "=", "é"])
        .run(
            |bytes| BearerToken::parse(&String::from_utf8_lossy(bytes)),
            |token| assert_eq!(BearerToken::parse(&token.reveal()), Some(token)),
        );
}

#[test]
fn fuzz_token_record() {
    let life = std::time::Duration::from_secs(3_600);
    let everything = crate::model::Scope::Everything;
    let role = crate::model::AccessRole::Operator;
    let (token, record) = BearerToken::mint("ci", role, everything, NOW, life).unwrap();
    let hash: SecretHash = token.hash();
    assert_eq!(record.hash, hash);
    fuzz::target("security: token's record")
        .example(raft::seal(&record).unwrap())
        .sealed_record(u32::to_le_bytes)
        .run(
            |bytes| raft::unseal::<TokenRecord>(bytes, raft::MAX_COMMAND_BYTES).ok(),
            keeps_record(raft::MAX_COMMAND_BYTES),
        );
}

#[test]
fn fuzz_enrolment() {
    let golden = include_str!("../security/enrolment.txt");
    let example = |target: fuzz::Target, name| target.example(fuzz::golden(golden, name));
    let asked = ["peer", "agent", "tool"];
    asked
        .into_iter()
        .fold(fuzz::target("security: enrol"), example)
        .sealed_record(u32::to_le_bytes)
        .run(
            |bytes| raft::unseal::<Enrol>(bytes, MESSAGE_LIMIT).ok(),
            keeps_record(MESSAGE_LIMIT),
        );
    example(fuzz::target("security: enrolled"), "enrolled")
        .sealed_record(u32::to_le_bytes)
        .run(
            |bytes| raft::unseal::<Enrolled>(bytes, MESSAGE_LIMIT).ok(),
            keeps_record(MESSAGE_LIMIT),
        );
}

#[test]
fn fuzz_identity() {
    let cluster = ClusterName::new("demo").unwrap();
    let instance = InstanceId::new("a").unwrap();
    let who = [Who::Peer(PeerId(1)), Who::Agent { cluster, instance }];
    let identities = who.map(|who| Identity { group: GROUP, who });
    let uris = identities.iter().map(Identity::uri);
    let names = identities.iter().map(Identity::dns);
    uris.chain(names)
        .fold(fuzz::target("security: identity"), fuzz::Target::example)
        .words(&[
            "/",
            ".",
            "peer",
            "agent",
            "tool",
            "*",
            "primacy://",
            ".primacy.internal",
        ])
        .run(
            |bytes| {
                let text = String::from_utf8_lossy(bytes);
                Identity::from_uri(&text).or_else(|| Identity::from_dns(&text))
            },
            |identity| {
                assert_eq!(Identity::from_uri(&identity.uri()), Some(identity.clone()));
                assert_eq!(Identity::from_dns(&identity.dns()), Some(identity));
            },
        );
}

#[test]
fn fuzz_certificate() {
    let authority = authority();
    fuzz::target("security: certificate")
        .example(issued(&authority).chain[0].to_vec())
        .run(
            |bytes| {
                let certificate = CertificateDer::from(bytes.to_vec());
                let validity = validity(&certificate);
                let identity = identity(&certificate).ok()?;
                Some((identity, validity.unwrap()))
            },
            |(identity, validity)| {
                assert_eq!(Identity::from_uri(&identity.uri()), Some(identity));
                assert!(validity.renew_at() >= validity.from);
            },
        );
}

/// A caller's certificate is judged whole, its signature included.
#[test]
fn fuzz_chain() {
    let authority = authority();
    let trusted = [authority.certificate().clone()];
    let good = issued(&authority);
    let example = good.chain[0].to_vec();
    fuzz::target("security: chain")
        .example(example.clone())
        .run(
            |bytes| {
                let chain = vec![CertificateDer::from(bytes.to_vec()), trusted[0].clone()];
                let key = good.key.clone_key();
                Credentials::new(GROUP, Issued { chain, key }, &trusted, NOW).ok()?;
                Some(bytes.to_vec())
            },
            |accepted| assert_eq!(accepted, example, "another certificate is accepted"),
        );
}

#[test]
fn fuzz_pem() {
    let authority = authority();
    let words = [
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
        "-----",
        "\n",
        "\r",
        "=",
    ];
    fuzz::target("security: pem")
        .example(to_pem(&issued(&authority).chain))
        .words(&words)
        .run(
            |bytes| from_pem(bytes).ok(),
            |found| assert_eq!(from_pem(to_pem(&found).as_bytes()).unwrap(), found),
        );
    fuzz::target("security: authority")
        .example(authority.reveal())
        .words(&words)
        .run(
            |bytes| CertificateAuthority::read(bytes).ok(),
            |found| {
                let again = CertificateAuthority::read(found.reveal().as_bytes()).unwrap();
                assert_eq!(again.certificate(), found.certificate());
            },
        );
}

#[test]
fn fuzz_signing_request() {
    let authority = authority();
    let request = NewKey::draw().unwrap();
    fuzz::target("security: signing request")
        .example(request.request())
        .run(
            |bytes| {
                let who = Who::Peer(PeerId(1));
                let chain = authority.issue_for(bytes, who.clone(), &[], NOW).ok()?;
                Some((chain, who))
            },
            |(chain, who)| assert_eq!(identity(&chain[0]).unwrap().who, who),
        );
}
