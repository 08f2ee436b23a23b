//! Keys and certificates in files, and what is written in a certificate.

use super::*;

#[test]
fn an_authority_is_kept_in_one_file_of_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    prepare_folder(&keys).unwrap();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&keys), 0o700);
    let made = CertificateAuthority::create(&keys, OURS, wall_millis()).unwrap();
    let path = keys.join("authority.pem");
    assert_eq!(mode(&path), 0o600);
    let opened = CertificateAuthority::open(&keys).unwrap();
    assert_eq!(
        (opened.fingerprint(), opened.group()),
        (made.fingerprint(), OURS)
    );
    assert_eq!(opened.reveal(), made.reveal());

    let again = CertificateAuthority::create(&keys, OURS, wall_millis()).unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");
    let shown = format!("{opened:?}");
    let key = made.reveal().lines().nth(1).unwrap().to_owned();
    assert!(!shown.contains(&key), "{shown}");

    let other = authority(OURS).reveal();
    let (foreign_key, _) = other.split_once("-----BEGIN CERTIFICATE").unwrap();
    let (_, certificate) = opened
        .reveal()
        .split_once("-----BEGIN CERTIFICATE")
        .map(|(k, c)| (k.to_owned(), c.to_owned()))
        .unwrap();
    for (text, why) in [
        (
            format!("{foreign_key}-----BEGIN CERTIFICATE{certificate}"),
            "belong together",
        ),
        (foreign_key.to_owned(), "missing"),
        (
            format!("-----BEGIN CERTIFICATE{certificate}"),
            "no readable key",
        ),
        (String::new(), "missing"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = CertificateAuthority::open(&keys).unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains("authority.pem"),
            "{error}"
        );
    }
}

#[test]
fn certificates_are_short_and_hosts_are_hosts() {
    let now = wall_millis();
    let ours = CertificateAuthority::generate(OURS, now).unwrap();
    let long = validity(ours.certificate()).unwrap();
    let second = |millis: u64| millis / 1_000;
    assert_eq!(
        second(long.to),
        second(now + AUTHORITY_LIFE.as_millis() as u64)
    );
    let hosts = ["10.0.0.1".to_owned(), "db-1.example.com".to_owned()];
    let issued = ours.issue(peer(1), &hosts, now).unwrap();
    let short = validity(&issued.chain[0]).unwrap();
    assert_eq!(second(short.to), second(now + LIFE.as_millis() as u64));
    assert!(short.renew_at() > now && short.renew_at() < short.to);
    for name in ["10.0.0.1", "db-1.example.com"] {
        let parsed = rustls::server::ParsedCertificate::try_from(&issued.chain[0]).unwrap();
        rustls::client::verify_server_name(&parsed, &ServerName::try_from(name).unwrap()).unwrap();
    }
    let someone = Identity {
        group: OURS,
        who: peer(2),
    };
    for host in [
        someone.dns(),
        someone.uri(),
        "*.example.com".to_owned(),
        "a b".to_owned(),
        String::new(),
    ] {
        let error = ours
            .issue(peer(1), std::slice::from_ref(&host), now)
            .unwrap_err();
        assert!(
            error.to_string().contains("not the name of a host"),
            "{host}: {error}"
        );
    }
}

#[test]
fn a_request_gets_what_the_authority_decides() {
    let ours = authority(OURS);
    // It asks to be peer 1 and an authority.
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::default();
    let asked = Identity {
        group: OURS,
        who: peer(1),
    };
    greedy.subject_alt_names = vec![SanType::URI(asked.uri().try_into().unwrap())];
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let request = greedy.serialize_request(&key).unwrap();
    let chain = ours
        .issue_for(request.der(), agent(), &[], wall_millis())
        .unwrap();
    assert_eq!(certificate::identity(&chain[0]).unwrap().who, agent());
    let issued = Issued {
        chain: chain.clone(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    };
    let own = Credentials::new(OURS, issued, &[ours.certificate().clone()], wall_millis()).unwrap();
    assert_eq!(own.own().unwrap().identity.who, agent());

    let mut forged = request.der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for request in [&forged[..], b"", b"request"] {
        let error = ours
            .issue_for(request, agent(), &[], wall_millis())
            .unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}

#[test]
fn credentials_are_read_as_others_will_judge_them() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::built_in(folder.path());
    let ours = authority(OURS);
    let now = wall_millis();
    let trusted = [ours.certificate().clone()];
    let issued = ours.issue(peer(1), &[], now).unwrap();
    files.keep(&issued, &trusted).unwrap();
    let read = Credentials::load(OURS, &files, now).unwrap();
    assert_eq!(read.own().unwrap().identity.who, peer(1));
    let secret = certificate::pem("", issued.key.secret_der());
    let secret = secret.lines().nth(1).unwrap();
    assert!(!format!("{read:?} {issued:?}").contains(secret));

    let why = |group, now| {
        Credentials::load(group, &files, now)
            .unwrap_err()
            .to_string()
    };
    let late = why(OURS, now + LIFE.as_millis() as u64 + 1_000);
    assert!(
        late.contains("expired") && late.contains("own.pem"),
        "{late}"
    );
    let other = why(THEIRS, now);
    assert!(other.contains("installation"), "{other}");
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = why(OURS, now);
    assert!(open.contains("chmod 0600"), "{open}");
    let stranger = authority(OURS);
    files
        .keep(&issued, &[stranger.certificate().clone()])
        .unwrap();
    let unknown = why(OURS, now);
    assert!(unknown.contains("no authority that we trust"), "{unknown}");
    let mixed = Issued {
        chain: issued.chain.clone(),
        key: ours.issue(peer(1), &[], now).unwrap().key,
    };
    files.keep(&mixed, &trusted).unwrap();
    let mixed = why(OURS, now);
    assert!(mixed.contains("belong together"), "{mixed}");
    files.keep(&issued, &[]).unwrap();
    let nobody = why(OURS, now);
    assert!(nobody.contains("missing"), "{nobody}");
}
