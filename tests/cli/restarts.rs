//! All peers die at once and come back.

use rustix::process::Signal;

use crate::rig::{Peers, run, until};

/// What was acknowledged last is on the disk of a majority; that it is committed may be written nowhere. Whoever leads
/// first finds out before it answers: an old answer would be wrong for ever after, for instance about who holds a lease.
#[test]
fn the_first_linearizable_read_after_all_were_killed_has_what_was_acknowledged() {
    let mut peers = Peers::start(3);
    let api = peers.api();
    let mut made = vec![];
    for round in 0..8 {
        let name = format!("token-{round}");
        let create = ["--api", &api, "token", "create", &name, "--role", "viewer"];
        let (code, _, errors) = run(&create);
        assert_eq!(code, Some(0), "{errors}");
        made.push(name);
        for peer in &peers.running {
            peer.signal(Signal::KILL);
        }
        peers.running.clear();
        (0..3).for_each(|number| peers.spawn(number));
        let mut listed = String::new();
        until("the tokens are listed", || {
            let (code, text, _) = run(&["--api", &api, "token", "list"]);
            listed = text;
            code == Some(0)
        });
        for name in &made {
            assert!(listed.contains(name), "{name} was acknowledged:\n{listed}");
        }
    }
}
