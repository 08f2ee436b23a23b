//! Newcomers that have a join token and nothing else.

use super::*;

/// What a peer does with a newcomer: one connection, one request.
async fn take_in(
    listener: &TcpListener,
    server: &Tls,
    authority: &CertificateAuthority,
    secret: &Secret,
) -> io::Result<()> {
    let (stream, _) = listener.accept().await?;
    let (mut stream, caller) = server.accept(stream).await?;
    assert_eq!(caller, None);
    let length = stream.read_u32().await? as usize;
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    let enrol: Enrol = raft::unseal(&bytes, MESSAGE_LIMIT).unwrap();
    assert_eq!(enrol.secret.hash(), secret.hash());
    assert_eq!(enrol.wish.kind(), JoinKind::Peer);
    let trusted = [authority.certificate().clone()];
    let answer = enrolment::enrol(
        authority,
        &trusted,
        &enrol.request,
        peer(4),
        &["127.0.0.1".to_owned()],
        wall_millis(),
    );
    let answer = raft::seal(&answer.unwrap()).unwrap();
    stream.write_u32(answer.len() as u32).await?;
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

#[tokio::test]
async fn a_newcomer_with_a_token_becomes_a_peer() {
    let ours = authority(OURS);
    let server = tls(&ours, peer(1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let token = enrolment::invite(&ours, vec![address], JoinKind::Peer).unwrap();
    let text = token.reveal();

    let newcomer = async {
        let token = JoinToken::parse(&text).unwrap();
        let mut stream = enrolment::connect(&token, &token.addresses[0])
            .await
            .unwrap();
        let key = NewKey::draw().unwrap();
        let enrol = Enrol {
            secret: token.secret.clone(),
            wish: Wish::Peer,
            request: key.request().to_vec(),
        };
        let bytes = raft::seal(&enrol).unwrap();
        stream.write_u32(bytes.len() as u32).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = vec![0; stream.read_u32().await.unwrap() as usize];
        stream.read_exact(&mut answer).await.unwrap();
        let enrolled: Enrolled = raft::unseal(&answer, MESSAGE_LIMIT).unwrap();
        let shown = format!("{enrol:?} {enrolled:?} {key:?}");
        assert!(shown.contains("Secret(..)") && shown.contains("AuthorityText(..)"));
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
        (key.certified(&enrolled), enrolled)
    };
    let (taken, ((issued, trusted), enrolled)) =
        tokio::join!(take_in(&listener, &server, &ours, &token.secret), newcomer);
    taken.unwrap();
    let own = Credentials::new(OURS, issued, &trusted, wall_millis()).unwrap();
    let found = is_welcome(&server, &Tls::new(own), Expected::Exactly(peer(1))).await;
    assert_eq!(found.unwrap().who, peer(4));
    // It can take in the next one.
    let text = enrolled.authority.unwrap().0;
    let copy = CertificateAuthority::read(text.as_bytes()).unwrap();
    assert_eq!(copy.fingerprint(), ours.fingerprint());
}

#[tokio::test]
async fn a_newcomer_says_its_secret_to_nobody_else() {
    let (ours, theirs) = (authority(OURS), authority(THEIRS));
    let token = enrolment::invite(&ours, vec!["x:1".to_owned()], JoinKind::Agent).unwrap();
    let now = wall_millis();
    let liar = |trusted: &CertificateAuthority, who: Who| {
        let issued = trusted.issue(who, &[], now).unwrap();
        let group = trusted.group();
        let trusted = [trusted.certificate().clone()];
        Tls::new(Credentials::new(group, issued, &trusted, now).unwrap())
    };
    // Of another installation; one that shows our authority beside its own certificate; an agent of ours.
    let mut beside = authority(OURS).issue(peer(1), &[], now).unwrap();
    let signer = beside.chain[1].clone();
    beside.chain.push(ours.certificate().clone());
    let beside = Tls::new(Credentials::new(OURS, beside, &[signer], now).unwrap());
    for (server, why) in [
        (liar(&theirs, peer(1)), "authority that the token names"),
        (beside, "no authority that we trust"),
        (liar(&ours, agent()), "not a peer"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepting = async {
            let (stream, _) = listener.accept().await.unwrap();
            server.accept(stream).await.map(|_| ())
        };
        let (accepted, connected) = tokio::join!(accepting, enrolment::connect(&token, &address));
        let error = connected.expect_err("it is refused").to_string();
        assert!(error.contains(why), "{error}");
        accepted.unwrap_err();
    }
}
