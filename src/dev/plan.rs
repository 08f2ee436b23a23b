//! What a new `dev` consists of: its nodes, ports, passwords and configurations.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use raft::GroupId;

use super::DevError;
use super::credentials::Installation;
use super::layout::{Kind, Layout, Node};
use super::ports;

/// The cluster's name.
pub(super) const CLUSTER: &str = "demo";
/// How many peers there are, each in a zone of its own.
pub(super) const PEERS: usize = 3;

/// The most PostgreSQL servers: what a machine for trying things carries.
pub(super) const MOST_MEMBERS: u8 = 5;

/// Refuses a durability that is not known, or that so many members cannot keep.
pub(super) fn check_durability(durability: &str, members: u8) -> Result<(), DevError> {
    let standbys = match durability.split_once(':') {
        None if durability == "async" => 0,
        Some(("quorum", standbys)) => standbys.parse().unwrap_or(u8::MAX),
        _ => u8::MAX,
    };
    if standbys == u8::MAX || durability.ends_with(":0") {
        return Err(DevError::usage(
            format!("--durability {durability} is not known"),
            "use quorum:1 or async",
        ));
    }
    if standbys >= members {
        let hint = match (standbys, members) {
            (MOST_MEMBERS.., 2..) => format!(
                "use --durability quorum:{} or less; dev has at most {MOST_MEMBERS} members",
                members - 1
            ),
            (MOST_MEMBERS.., _) => {
                format!("use --durability async; dev has at most {MOST_MEMBERS} members")
            }
            _ => format!("use --members {} or more", standbys + 1),
        };
        return Err(DevError::usage(
            format!("--durability {durability} needs more standbys than --members {members} has"),
            hint,
        ));
    }
    Ok(())
}

/// Names every node and finds it free ports. Writes nothing.
pub(super) fn plan(
    folder: &Path,
    account: Option<(u32, u32)>,
    members: u8,
) -> Result<Layout, DevError> {
    let names: Vec<_> = (b'a'..b'a' + members)
        .map(|c| char::from(c).to_string())
        .collect();
    let port =
        || ports::reserve(0).map_err(|error| DevError::failed(format!("no free ports: {error}")));
    let mut nodes = BTreeMap::new();
    for number in 1..=PEERS {
        nodes.insert(
            format!("p{number}"),
            Node {
                kind: Kind::Peer,
                zone: format!("z{number}"),
                port: port()?,
                health: None,
                started: None,
            },
        );
    }
    for (number, name) in names.iter().enumerate() {
        nodes.insert(
            name.clone(),
            Node {
                kind: Kind::Instance,
                zone: format!("z{}", number % PEERS + 1),
                port: port()?,
                health: Some(port()?),
                started: None,
            },
        );
    }
    let password = random_hex(16);
    let hosts: Vec<_> = names
        .iter()
        .map(|name| format!("127.0.0.1:{}", nodes[name].port))
        .collect();
    let dsn = format!(
        "postgresql://app:{password}@{}/postgres?target_session_attrs=read-write&connect_timeout=2",
        hosts.join(",")
    );
    let program = std::env::current_exe()
        .map_err(|error| DevError::failed(format!("find this program: {error}")))?;
    Ok(Layout {
        folder: folder.to_owned(),
        program,
        account,
        cluster: CLUSTER.to_owned(),
        dsn,
        password,
        nodes,
    })
}

fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .expect("the kernel gives random bytes after boot");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes every folder and configuration. `dev.json` comes first, so that `down` can always tidy up.
pub(super) fn write(layout: &mut Layout, binaries: &Path) -> Result<(), DevError> {
    let folder = layout.folder.display().to_string();
    let elsewhere = "choose another folder with --folder";
    let failed = |error: std::io::Error| DevError {
        hint: Some(elsewhere.to_owned()),
        ..DevError::failed(format!("cannot prepare {folder}: {error}"))
    };
    fs::create_dir_all(&layout.folder).map_err(failed)?;
    layout.claim().map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => DevError::usage(
            format!("another primacy dev up has just begun in {folder}"),
            format!("wait for it and use that one, or {elsewhere}"),
        ),
        _ => failed(error),
    })?;
    fs::set_permissions(&layout.folder, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    if layout.account.is_some() {
        // The other user may not be able to reach the program where it is.
        let copy = layout.folder.join("primacy");
        fs::copy(&layout.program, &copy).map_err(failed)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        layout.program = copy;
        layout.save().map_err(failed)?;
    }
    let (group, installation) = Installation::make()?;
    let replication = random_hex(16);
    let addresses = layout.peers();
    for (name, node) in &layout.nodes {
        let home = layout.home(name);
        fs::create_dir_all(&home).map_err(failed)?;
        let own = |path: &Path| match layout.account {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        };
        let file = |name: &str, text: &str| {
            let path = home.join(name);
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(text.as_bytes())?;
            own(&path)
        };
        own(&home).map_err(failed)?;
        file("log", "").map_err(failed)?;
        installation.equip(&home, name, node.kind, own)?;
        match node.kind {
            Kind::Peer => {
                let text = server_toml(&home, name, node, group, &addresses);
                file("server.toml", &text).map_err(failed)?;
            }
            Kind::Instance => {
                file("replication.password", &replication).map_err(failed)?;
                file("application.password", &layout.password).map_err(failed)?;
                let text = agent_toml(&home, name, node, binaries, &addresses);
                file("agent.toml", &text).map_err(failed)?;
            }
        }
    }
    installation.equip_owner(&layout.tls())
}

fn server_toml(home: &Path, name: &str, node: &Node, group: GroupId, peers: &[String]) -> String {
    let listed: Vec<_> = peers
        .iter()
        .zip(1..)
        .map(|(address, id)| format!("{id} = \"{address}\""))
        .collect();
    format!(
        "id = {}\ngroup = \"{group}\"\nzone = \"{}\"\nfolder = \"{}\"\nlisten = \"127.0.0.1:{}\"\n\n[peers]\n{}\n",
        name.trim_start_matches('p'),
        node.zone,
        home.join("raft").display(),
        node.port,
        listed.join("\n")
    )
}

fn agent_toml(home: &Path, name: &str, node: &Node, binaries: &Path, peers: &[String]) -> String {
    let peers: Vec<_> = peers.iter().map(|peer| format!("\"{peer}\"")).collect();
    let home = home.display();
    format!(
        "cluster = \"{CLUSTER}\"\ninstance = \"{name}\"\npeers = [{}]\n\
         folder = \"{home}/agent\"\ndata = \"{home}/data\"\nhost = \"127.0.0.1\"\nport = {}\n\
         health = \"127.0.0.1:{}\"\nbinaries = \"{}\"\n\n\
         [replication]\npassword_file = \"{home}/replication.password\"\n\n\
         [application]\nuser = \"app\"\npassword_file = \"{home}/application.password\"\n",
        peers.join(", "),
        node.port,
        node.health.unwrap_or_default(),
        binaries.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durability_that_makes_no_sense_is_refused() {
        assert!(check_durability("quorum:1", 3).is_ok());
        assert!(check_durability("async", 1).is_ok());
        for (durability, members, hint) in [
            ("quorum:3", 3, "use --members 4 or more"),
            (
                "quorum:7",
                3,
                "use --durability quorum:2 or less; dev has at most 5 members",
            ),
            (
                "quorum:5",
                5,
                "use --durability quorum:4 or less; dev has at most 5 members",
            ),
            (
                "quorum:5",
                1,
                "use --durability async; dev has at most 5 members",
            ),
            ("quorum:0", 3, "use quorum:1 or async"),
            ("quorum:300", 3, "use quorum:1 or async"),
            ("sync", 3, "use quorum:1 or async"),
        ] {
            let error = check_durability(durability, members).unwrap_err();
            assert!(error.is_usage);
            assert_eq!(error.hint.as_deref(), Some(hint), "{durability}");
        }
    }

    #[test]
    fn the_configurations_are_accepted() {
        let layout = plan(Path::new("/tmp/x"), None, 3).unwrap();
        let node = &layout.nodes["p1"];
        let text = server_toml(
            Path::new("/tmp/x/p1"),
            "p1",
            node,
            GroupId::from_bytes([7; 16]),
            &layout.peers(),
        );
        crate::server::Config::parse(&text).unwrap();
    }

    #[test]
    fn of_two_at_once_the_second_disturbs_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("dev");
        let mut first = plan(&folder, None, 1).unwrap();
        write(&mut first, Path::new("/bin")).unwrap();
        let before = fs::read(folder.join("dev.json")).unwrap();
        let mut second = plan(&folder, None, 1).unwrap();
        let error = write(&mut second, Path::new("/bin")).unwrap_err();
        assert!(error.is_usage);
        let expected = format!(
            "another primacy dev up has just begun in {}",
            folder.display()
        );
        assert_eq!(error.text, expected);
        assert_eq!(fs::read(folder.join("dev.json")).unwrap(), before);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let mut layout = plan(Path::new("/proc/primacy"), None, 1).unwrap();
        let error = write(&mut layout, Path::new("/bin")).unwrap_err();
        assert!(error.text.starts_with("cannot prepare /proc/primacy: "));
        assert!(error.hint.is_some());
    }
}
