//! An agent that belongs to no member is told so, and so is everybody else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use primacy::dev::ports;

use crate::rig::{Peers, Running, program, read, run, until};

#[test]
fn an_agent_of_no_member_says_so_everywhere() {
    if !Path::new("/usr/lib/postgresql").exists() {
        eprintln!("skipped: no PostgreSQL below /usr/lib/postgresql");
        return;
    }
    let peers = Peers::start(1);
    let api = peers.api();
    let try_create = |name: &str, member: &str| {
        let new = ["cluster", "create", name, "--durability", "async"];
        run(&[&["--api", &api][..], &new, &["--member", member]].concat())
    };
    let create = |name: &str, member: &str| {
        let (code, _, errors) = try_create(name, member);
        assert_eq!(code, Some(0), "{errors}");
    };
    create("main", "a=127.0.0.1:5432/8008@z1");
    let (code, _, errors) = try_create("again", "b=127.0.0.1:5432/8009@z1");
    assert_eq!(code, Some(2), "{errors}");
    let why = "members.b: a of cluster main has the address 127.0.0.1:5432 too";
    assert!(errors.contains(why), "{errors}");
    let port = || ports::reserve(0).unwrap();
    let root = tempfile::tempdir().unwrap();
    let shown = root.path().display();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let account = primacy::host::Account::named("postgres").unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(root.path(), Some(account.uid), Some(account.gid)).unwrap();
    }
    fs::write(root.path().join("password"), "secret\n").unwrap();
    let start = |cluster: &str, name: &str| {
        let text = format!(
            "cluster = \"{cluster}\"\ninstance = \"x\"\npeers = [\"{api}\"]\nplain_http = true\n\
             folder = \"{shown}/{name}\"\ndata = \"{shown}/{name}-data\"\nhost = \"127.0.0.1\"\nport = {}\n\
             health = \"127.0.0.1:{}\"\n{}\n[replication]\npassword_file = \"{shown}/password\"\n",
            port(),
            port(),
            if is_root { "run_as = \"postgres\"" } else { "" },
        );
        let config = root.path().join(format!("{name}.toml"));
        fs::write(&config, text).unwrap();
        let log = root.path().join(format!("{name}.log"));
        let mut command = program();
        command.arg("agent").arg("--config").arg(config);
        let agent = command.stderr(fs::File::create(&log).unwrap()).spawn();
        (Running(agent.unwrap()), log)
    };

    let (_agent, log) = start("main", "member");
    let why =
        "cluster main has no member x, only a; correct `instance` in the agent's configuration";
    until("the agent says it", || read(&log).contains(why));
    until("the peer says it", || read(&peers.log(0)).contains(why));
    let warning = "WARN  an agent says that it is x's, and there is no such member: correct `instance` in its configuration\n";
    until("the status says it", || {
        let (_, status, _) = run(&["--api", &api, "status"]);
        status.contains(warning)
    });

    let rival = start("main", "rival");
    let warning = "WARN  a second agent says that it is x's, and is turned away: stop it, or correct `instance` in its configuration\n";
    let says = || run(&["--api", &api, "status"]).1.contains(warning);
    until("the status tells the second agent", says);
    drop(rival);
    until("the status forgets it", || !says());

    let (_agent, log) = start("other", "cluster");
    let why = "there is no cluster other; create it (primacy cluster create other …), or correct `cluster` in the agent's configuration";
    until("the agent says it", || read(&log).contains(why));
    until("the peer says it", || read(&peers.log(0)).contains(why));
    // Asked again and again, said once.
    create("other", "a=127.0.0.1:5433/8009@z1");
    let why = "cluster other has no member x, only a";
    until("the agent says the next", || read(&log).contains(why));
    until("the peer says the next", || {
        read(&peers.log(0)).contains(why)
    });
    for reason in ["there is no cluster other", why] {
        assert_eq!(read(&log).matches(reason).count(), 1, "{}", read(&log));
        assert_eq!(read(&peers.log(0)).matches(reason).count(), 1);
    }
}
