//! Another authority takes the place of the one there is, while everybody goes on.

use std::fs;
use std::path::Path;

use primacy::clock::wall_millis;
use primacy::security::{Credentials, Expected, Files, Fingerprint, Tls, newcomer};
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::installation::Installation;
use crate::rig::{program, told, until};
use crate::security::{agent, invited, join};

const PEERS: [&str; 3] = ["p1", "p2", "p3"];

/// `primacy cert` with these words; gives the exit code and everything that was said.
fn cert(words: &[&str]) -> (Option<i32>, String) {
    let (code, text, errors) = told(program().arg("cert").args(words).output().unwrap());
    (code, text + &errors)
}

fn done(words: &[&str]) -> String {
    let (code, said) = cert(words);
    assert_eq!(code, Some(0), "{words:?} {said}");
    said
}

/// The fingerprints of the authorities that are trusted in a folder and have this mark.
fn authorities(folder: &str, mark: &str) -> Vec<String> {
    let said = done(&["show", folder]);
    let lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("authority  "));
    let marked = lines.filter(|line| line.contains(mark));
    marked.map(|line| line[..64].to_owned()).collect()
}

/// An agent asks a peer for its next certificate, as a running one does by itself.
fn renew_agent(folder: &Path, address: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let files = Files::built_in(folder);
        let credentials = Credentials::of_folder(folder, wall_millis()).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = Tls::new(credentials)
            .connect(stream, Expected::AnyPeer)
            .await;
        let stream = stream.map_err(|error| error.to_string())?;
        let renewed = newcomer::renew(stream, address).await;
        let (issued, authorities) = renewed.map_err(|error| error.to_string())?;
        files.keep(&issued, &authorities).unwrap();
        Ok(())
    })
}

#[test]
fn an_authority_is_replaced_while_the_group_goes_on() {
    let mut group = Installation::start();
    let path = |name: &str| group.path(name).to_str().unwrap().to_owned();
    let folders = PEERS.map(|name| path(&format!("{name}/tls")));
    let join_agent = |instance: &str| {
        let token = invited(&group, &["agent", "main", instance]);
        let config = agent(&group, instance, &group.addresses[0]);
        let mut command = program();
        command.args(["agent", "join", &token, "--config"]);
        let joined = told(command.arg(&config).output().unwrap());
        assert_eq!(joined.0, Some(0), "{joined:?}");
    };
    join_agent("pg-a");
    join_agent("pg-b");
    let (agent, laptop) = (group.path("pg-a/tls"), group.path("laptop"));
    let token = invited(&group, &["tool", "laptop"]);
    assert_eq!(join(&token, "laptop", &laptop).0, Some(0));
    let asked_by = |folder: &Path| told(group.verb_with(folder).arg("leader").output().unwrap());

    let [old] = authorities(&folders[0], "signs here").try_into().unwrap();
    let (new, stranger) = (path("new"), path("stranger"));
    let text = fs::read_to_string(group.path("p1.toml")).unwrap();
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix("group = "))
        .unwrap();
    done(&[
        "authority",
        "--folder",
        &new,
        "--group",
        number.trim_matches('"'),
    ]);
    done(&["authority", "--folder", &stranger]);
    let pem = |folder: &str| format!("{folder}/authority.pem");

    // Nobody signs with what is not trusted, or trusts what is of somebody else.
    let (code, said) = cert(&["sign-with", &folders[0], &new]);
    assert!(
        code == Some(3) && said.contains("not trusted here yet"),
        "{said}"
    );
    let (code, said) = cert(&["trust", &folders[0], &pem(&stranger)]);
    assert!(
        code == Some(3) && said.contains("of installation"),
        "{said}"
    );
    let (code, said) = cert(&["distrust", &folders[0], &old]);
    assert!(code == Some(3) && said.contains("signs with it"), "{said}");

    // All trust both.
    for folder in &folders {
        done(&["trust", folder, &pem(&new)]);
    }
    let both = authorities(&folders[0], "");
    assert_eq!(both.len(), 2);
    let next: Fingerprint = both[1].parse().unwrap();
    renew_agent(&agent, &group.addresses[1]).unwrap();
    assert_eq!(authorities(agent.to_str().unwrap(), ""), both);

    // The new one signs. Whoever heard nothing of it is not spoken to.
    for folder in &folders {
        done(&["sign-with", folder, &new]);
    }
    let (code, said) = cert(&["distrust", &folders[0], &old]);
    assert!(
        code == Some(3) && said.contains("the own certificate"),
        "{said}"
    );
    for (peer, folder) in group.running.iter().zip(&folders) {
        peer.signal(Signal::HUP);
        let next = [next.to_string()];
        until("it renews", || {
            authorities(folder, "signed the own") == next
        });
    }
    for name in PEERS {
        until("it shows the new one", || {
            group.log(name).contains("read anew")
        });
    }
    group.until_led();
    let (code, _, said) = asked_by(&laptop);
    assert!(
        code == Some(5) && said.contains("no authority that we trust"),
        "{said}"
    );
    done(&["trust", laptop.to_str().unwrap(), &pem(&new)]);
    assert_eq!(asked_by(&laptop).0, Some(0));
    for address in &group.addresses {
        renew_agent(&agent, address).unwrap();
    }
    let signed = authorities(agent.to_str().unwrap(), "signed the own");
    assert_eq!(signed, [next.to_string()]);

    // The old one is gone, and what it signed with it.
    for folder in &folders {
        done(&["distrust", folder, &old]);
    }
    until("the old one counts no more", || {
        asked_by(&laptop).0 != Some(0)
    });
    for address in &group.addresses {
        until("every peer has read it", || {
            renew_agent(&agent, address).is_ok()
        });
    }
    assert_eq!(authorities(agent.to_str().unwrap(), ""), [next.to_string()]);

    // Who was off all the time comes back with a new token, in place of what nobody trusts any more.
    let absent = group.path("pg-b/tls");
    let refused = renew_agent(&absent, &group.addresses[0]).unwrap_err();
    assert!(refused.contains("no authority that we trust"), "{refused}");
    join_agent("pg-b");
    renew_agent(&absent, &group.addresses[0]).unwrap();
    let token = invited(&group, &["tool", "another"]);
    assert_eq!(join(&token, "another", &group.path("another")).0, Some(0));
    group.until_led();
    for peer in &mut group.running {
        assert!(peer.lives());
    }
}
