//! Who gets in, who does not, and why.

use super::*;

#[tokio::test]
async fn everybody_is_known_by_the_certificate() {
    let ours = authority(OURS);
    let server = tls(&ours, peer(1));
    for who in [peer(2), agent(), tool()] {
        let caller = tls(&ours, who.clone());
        let found = is_welcome(&server, &caller, Expected::Exactly(peer(1))).await;
        assert_eq!(found, Some(Identity { group: OURS, who }));
    }
    let trusted = [ours.certificate().clone()];
    let person = Tls::new(Credentials::anonymous(OURS, &trusted).unwrap());
    assert_eq!(is_welcome(&server, &person, Expected::AnyPeer).await, None);
}

#[tokio::test]
async fn only_whom_one_wants_is_taken() {
    let ours = authority(OURS);
    let caller = tls(&ours, peer(1));
    let other_peer = refusal(&tls(&ours, peer(3)), &caller, Expected::Exactly(peer(2))).await;
    assert!(
        other_peer.contains("this is peer 3, not peer 2"),
        "{other_peer}"
    );
    let an_agent = refusal(&tls(&ours, agent()), &caller, Expected::AnyPeer).await;
    assert!(
        an_agent.contains("this is the agent of a in demo, not a peer"),
        "{an_agent}"
    );
    // A tool has no certificate for serving.
    let a_tool = refusal(&tls(&ours, tool()), &caller, Expected::Exactly(tool())).await;
    assert!(a_tool.contains("certificate"), "{a_tool}");
}

#[tokio::test]
async fn another_installation_is_refused_both_ways() {
    let (ours, theirs) = (authority(OURS), authority(THEIRS));
    // One authority that signs for both, as a company's does.
    let shared = CertificateAuthority::read(ours.reveal().as_bytes()).unwrap();
    let shared = shared.signing_for(THEIRS);
    for (signer, reason) in [
        (theirs, "no authority that we trust"),
        (shared, "installation"),
    ] {
        for who in [peer(1), agent(), tool()] {
            let stranger = tls(&signer, who.clone());
            let we = tls(&ours, peer(2));
            if who != tool() {
                let why = refusal(&stranger, &we, Expected::Exactly(who)).await;
                assert!(why.contains(reason), "{why}");
            }
        }
        // A caller who takes anybody is refused by the server itself.
        for who in [peer(1), agent(), tool()] {
            let caller = attacker(signer.issue(who, &[], wall_millis()).unwrap());
            let (accepted, _) = attack(&tls(&ours, peer(1)), &caller).await;
            let why = accepted.unwrap_err().to_string();
            assert!(why.contains(reason), "{why}");
        }
    }
}

#[tokio::test]
async fn nothing_but_a_whole_chain_gets_in() {
    let ours = authority(OURS);
    let server = tls(&ours, peer(1));
    let now = wall_millis();
    let life = LIFE.as_millis() as u64;
    let day = 24 * 3_600_000;
    let issue = |signer: &CertificateAuthority, at| signer.issue(peer(2), &[], at).unwrap();
    let reason = |issued| async {
        let (accepted, _) = attack(&server, &attacker(issued)).await;
        accepted.unwrap_err().to_string()
    };

    let expired = reason(issue(&ours, now - life - 1_000)).await;
    assert!(expired.contains("expired"), "{expired}");
    let early = reason(issue(&ours, now + 2 * day)).await;
    assert!(early.contains("not valid yet"), "{early}");
    // A clock that is hours behind takes a new certificate.
    let fresh = attack(&server, &attacker(issue(&ours, now + day / 2))).await;
    assert_eq!(fresh.0.unwrap().unwrap().who, peer(2));

    // The right words under a wrong signature, and with our authority's certificate beside it.
    let forger = authority(OURS);
    let mut forged = issue(&forger, now);
    forged.chain = vec![forged.chain.remove(0), ours.certificate().clone()];
    let forged = reason(forged).await;
    assert!(forged.contains("no authority that we trust"), "{forged}");

    // Ours, but for nobody; and a leaf that signs another.
    let nobody = leaf(
        &ours,
        &[SanType::DnsName("db-1.example.com".try_into().unwrap())],
    );
    let nobody = reason(nobody).await;
    assert!(nobody.contains("names nobody"), "{nobody}");
    let uri = |who: Who| SanType::URI(Identity { group: OURS, who }.uri().try_into().unwrap());
    let two = reason(leaf(&ours, &[uri(peer(1)), uri(peer(2))])).await;
    assert!(two.contains("several identities"), "{two}");
    let by_leaf = signed_by_leaf(&ours.issue(peer(3), &[], now).unwrap(), &[uri(peer(2))]);
    let by_leaf = reason(by_leaf).await;
    assert!(by_leaf.contains("EndEntityUsedAsCa"), "{by_leaf}");
}

/// Shows a certificate without having its key.
#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_worth_nothing() {
    let ours = authority(OURS);
    let now = wall_millis();
    let seen = ours.issue(peer(2), &[], now).unwrap().chain;
    let other_key = ours.issue(peer(2), &[], now).unwrap().key;
    let other_key = PROVIDER.key_provider.load_private_key(other_key).unwrap();
    let config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAnybody))
        .with_client_cert_resolver(Arc::new(Stolen(Arc::new(CertifiedKey::new(
            seen, other_key,
        )))));
    let thief = TlsConnector::from(Arc::new(config));
    let (accepted, _) = attack(&tls(&ours, peer(1)), &thief).await;
    accepted.unwrap_err();
}

/// A certificate with these names, as an authority of the user's signs it.
fn leaf(signer: &CertificateAuthority, names: &[SanType]) -> Issued {
    let text = signer.reveal();
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).unwrap();
    let key = KeyPair::try_from(&key).unwrap();
    let issuer = Issuer::from_ca_cert_der(signer.certificate(), key).unwrap();
    signed(&issuer, names, vec![signer.certificate().clone()])
}

fn signed_by_leaf(signer: &Issued, names: &[SanType]) -> Issued {
    let key = KeyPair::try_from(signer.key.secret_der()).unwrap();
    let issuer = Issuer::from_ca_cert_der(&signer.chain[0], key).unwrap();
    signed(&issuer, names, signer.chain.clone())
}

fn signed(
    issuer: &Issuer<'_, KeyPair>,
    names: &[SanType],
    above: Vec<CertificateDer<'static>>,
) -> Issued {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.to_vec();
    let certificate = params.signed_by(&key, issuer).unwrap().der().clone();
    Issued {
        chain: [vec![certificate], above].concat(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    }
}

#[tokio::test]
async fn an_authority_of_the_users_may_write_dns_names_instead() {
    let company = authority(THEIRS);
    let trusted = [company.certificate().clone()];
    let dns = Identity {
        group: OURS,
        who: peer(2),
    }
    .dns();
    let names = [
        SanType::DnsName(dns.try_into().unwrap()),
        SanType::DnsName("db-2.example.com".try_into().unwrap()),
    ];
    let own = Credentials::new(OURS, leaf(&company, &names), &trusted, wall_millis()).unwrap();
    let found = is_welcome(
        &Tls::new(own),
        &Tls::new(Credentials::new(OURS, leaf(&company, &names), &trusted, wall_millis()).unwrap()),
        Expected::Exactly(peer(2)),
    )
    .await;
    assert_eq!(found.unwrap().who, peer(2));
}

#[tokio::test]
async fn authorities_are_exchanged_while_everything_runs() {
    let (old, new) = (authority(OURS), authority(OURS));
    let both = [&old, &new];
    let server = tls(&old, peer(1));
    let caller = tls(&old, peer(2));
    let expected = || Expected::Exactly(peer(1));
    let (_, ends) = meet(&server, &caller, expected()).await;
    let (mut near, mut far) = ends.unwrap();

    // Trust both everywhere, one after the other; then certify anew, one after the other; then trust the new alone.
    let steps = [
        (&server, credentials(&old, peer(1), &both)),
        (&caller, credentials(&old, peer(2), &both)),
        (&caller, credentials(&new, peer(2), &both)),
        (&server, credentials(&new, peer(1), &both)),
        (&server, credentials(&new, peer(1), &[&new])),
        (&caller, credentials(&new, peer(2), &[&new])),
    ];
    for (who, credentials) in steps {
        who.replace(credentials);
        is_welcome(&server, &caller, expected()).await;
        is_welcome(&caller, &server, Expected::Exactly(peer(2))).await;
    }
    // The connection of the beginning still stands.
    near.write_u8(7).await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), 7);
    // Who was left behind is out.
    let late = old.issue(peer(3), &[], wall_millis()).unwrap();
    attack(&server, &attacker(late)).await.0.unwrap_err();
}

#[tokio::test]
async fn a_session_is_never_resumed() {
    let (old, new) = (authority(OURS), authority(OURS));
    let server = Tls::new(credentials(&old, peer(1), &[&old, &new]));
    let attacker = attacker(old.issue(peer(3), &[], wall_millis()).unwrap());
    for _ in 0..2 {
        let (accepted, kind) = attack(&server, &attacker).await;
        accepted.unwrap();
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
    server.replace(credentials(&new, peer(1), &[&new]));
    attack(&server, &attacker).await.0.unwrap_err();
}
