//! Bringing a `dev` up.
#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::clock;
use crate::http::views::ClusterView;

use super::layout::{Kind, Layout, Node};
use super::{DevError, nodes, processes};

const CLUSTER: &str = "demo";
const PEERS: usize = 3;
/// The oldest PostgreSQL that tells whether replay is paused (`pg_get_wal_replay_pause_state`).
const OLDEST: u32 = 14;
const PEERS_WITHIN: Duration = Duration::from_secs(20);
const STREAMS_WITHIN: Duration = Duration::from_secs(120);

pub(super) fn up(
    folder: &Path,
    no_view: bool,
    durability: &str,
    members: u8,
) -> Result<(), DevError> {
    check_durability(durability, members)?;
    check_folder(folder)?;
    let account = account()?;
    let binaries = find_postgres()?;
    let mut layout = plan(folder, account, members)?;
    write(&mut layout, &binaries)?;
    let result = bring_up(&mut layout, durability);
    if let Err(error) = result {
        for node in layout.nodes.keys() {
            tail(&layout, node);
        }
        nodes::tear_down(&layout)?;
        return Err(error);
    }
    println!("{}", text(&verb(&layout, &["status"])?.stdout));
    println!("dsn      {}", layout.dsn);
    println!("folder   {}", layout.folder.display());
    if *folder != super::default_folder() {
        println!("first    export PRIMACY_DEV={}", folder.display());
    }
    println!("try      primacy dev kill a; primacy status; primacy history; primacy dev start a");
    if no_view {
        println!("end      primacy dev down");
        return Ok(());
    }
    watch(&layout)?;
    nodes::down(&layout)
}

fn check_durability(durability: &str, members: u8) -> Result<(), DevError> {
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
        return Err(DevError::usage(
            format!("--durability {durability} needs more standbys than --members {members} has"),
            format!("use --members {} or more", standbys.saturating_add(1)),
        ));
    }
    Ok(())
}

fn check_folder(folder: &Path) -> Result<(), DevError> {
    if !folder.is_absolute() {
        return Err(DevError::usage(
            format!("--folder {} is not absolute", folder.display()),
            "write the whole path",
        ));
    }
    // Sockets live below it, and their names may have 107 bytes.
    if folder.as_os_str().len() > 60 {
        return Err(DevError::usage(
            format!("--folder {} is longer than 60 characters", folder.display()),
            "choose a shorter path: PostgreSQL's sockets live below it",
        ));
    }
    let Ok(found) = fs::symlink_metadata(folder) else {
        return Ok(());
    };
    let remedy = "primacy dev down, or choose another with --folder";
    if Layout::load(folder).is_some() {
        let what = if processes::of(folder).is_empty() {
            "holds what an earlier dev left"
        } else {
            "holds a dev that runs"
        };
        return Err(DevError::usage(
            format!("{} {what}", folder.display()),
            remedy,
        ));
    }
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    let is_ours = found.uid() == rustix::process::getuid().as_raw();
    if found.is_dir() && is_empty && is_ours {
        return Ok(());
    }
    let why = match (found.is_dir(), is_ours) {
        (false, _) => "is not a folder",
        (true, false) => "belongs to another user",
        (true, true) => "is not empty and holds no dev",
    };
    Err(DevError::usage(
        format!("{} {why}", folder.display()),
        "choose another with --folder",
    ))
}

/// PostgreSQL refuses to run as root: then everything runs as the user `postgres`.
fn account() -> Result<Option<(u32, u32)>, DevError> {
    if !rustix::process::getuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_postgres = fields.next() == Some("postgres");
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        is_postgres.then_some((user, group))
    });
    found.map(Some).ok_or_else(|| {
        DevError::usage(
            "PostgreSQL does not run as root and there is no user postgres",
            "run as another user, or install a PostgreSQL package that creates postgres",
        )
    })
}

/// The newest PostgreSQL of this machine.
fn find_postgres() -> Result<PathBuf, DevError> {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut places: Vec<_> = packaged
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path));
    let found = places.into_iter().filter_map(|place| {
        let has = |program: &str| place.join(program).exists();
        if !has("postgres") || !has("pg_basebackup") || !has("initdb") {
            return None;
        }
        let output = Command::new(place.join("postgres"))
            .arg("--version")
            .output();
        let version = text(&output.ok()?.stdout);
        let number = version.split_whitespace().last()?;
        let number = version
            .split_whitespace()
            .find_map(|word| word.split('.').next()?.parse::<u32>().ok())
            .or_else(|| number.parse().ok())?;
        Some((number, place))
    });
    match found.max() {
        Some((version, place)) if version >= OLDEST => Ok(place),
        Some((version, place)) => Err(DevError::usage(
            format!("PostgreSQL {version} in {} is too old", place.display()),
            format!("install PostgreSQL {OLDEST} or newer"),
        )),
        None => Err(DevError::usage(
            "PostgreSQL is not installed",
            "install it, for example: apt-get install postgresql",
        )),
    }
}

fn plan(folder: &Path, account: Option<(u32, u32)>, members: u8) -> Result<Layout, DevError> {
    let names: Vec<_> = (b'a'..b'a' + members)
        .map(|c| char::from(c).to_string())
        .collect();
    // All are held until all are found, so that none is given out twice.
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held: Result<Vec<_>, _> = (0..PEERS + 2 * names.len()).map(|_| free()).collect();
    let held = held.map_err(|error| DevError::failed(format!("no free ports: {error}")))?;
    let mut ports = held
        .iter()
        .filter_map(|listener| Some(listener.local_addr().ok()?.port()));
    let mut port = || ports.next().unwrap_or_default();
    let mut nodes = BTreeMap::new();
    for number in 1..=PEERS {
        nodes.insert(
            format!("p{number}"),
            Node {
                kind: Kind::Peer,
                zone: format!("z{number}"),
                port: port(),
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
                port: port(),
                health: Some(port()),
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
fn write(layout: &mut Layout, binaries: &Path) -> Result<(), DevError> {
    let failed = |error: std::io::Error| DevError::failed(format!("prepare the folder: {error}"));
    fs::create_dir_all(&layout.folder).map_err(failed)?;
    fs::set_permissions(&layout.folder, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    layout.save().map_err(failed)?;
    if layout.account.is_some() {
        // The other user may not be able to reach the program where it is.
        let copy = layout.folder.join("primacy");
        fs::copy(&layout.program, &copy).map_err(failed)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        layout.program = copy;
        layout.save().map_err(failed)?;
    }
    let group = random_hex(16);
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
        match node.kind {
            Kind::Peer => {
                let text = server_toml(&home, name, node, &group, &addresses);
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
    Ok(())
}

fn server_toml(home: &Path, name: &str, node: &Node, group: &str, peers: &[String]) -> String {
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
        "cluster = \"{CLUSTER}\"\ninstance = \"{name}\"\nzone = \"{}\"\npeers = [{}]\n\
         folder = \"{home}/agent\"\ndata = \"{home}/data\"\nhost = \"127.0.0.1\"\nport = {}\n\
         health = \"127.0.0.1:{}\"\nbinaries = \"{}\"\n\n\
         [replication]\npassword_file = \"{home}/replication.password\"\n\n\
         [application]\nuser = \"app\"\npassword_file = \"{home}/application.password\"\n",
        node.zone,
        peers.join(", "),
        node.port,
        node.health.unwrap_or_default(),
        binaries.display()
    )
}

fn bring_up(layout: &mut Layout, durability: &str) -> Result<(), DevError> {
    let names = |layout: &Layout, kind| -> Vec<String> {
        layout.of(kind).map(|(name, _)| name.clone()).collect()
    };
    eprintln!("starting {PEERS} peers");
    for name in names(layout, Kind::Peer) {
        nodes::spawn(layout, &name)?;
    }
    until(PEERS_WITHIN, "the peers elect no leader", || {
        Ok(verb(layout, &["leader"])?.status.success())
    })?;
    let mut create = vec![
        "cluster".to_owned(),
        "create".to_owned(),
        CLUSTER.to_owned(),
    ];
    create.extend(["--durability".to_owned(), durability.to_owned()]);
    for (name, node) in layout.of(Kind::Instance) {
        create.push("--member".to_owned());
        create.push(format!(
            "{name}=127.0.0.1:{}/{}@{}",
            node.port,
            node.health.unwrap_or_default(),
            node.zone
        ));
    }
    let create: Vec<_> = create.iter().map(String::as_str).collect();
    let created = verb(layout, &create)?;
    if !created.status.success() {
        let why = text(&created.stderr);
        return Err(DevError::failed(format!(
            "create the cluster: {}",
            why.trim()
        )));
    }
    let instances = names(layout, Kind::Instance);
    eprintln!(
        "starting {} agents; the first initialises, the others clone it",
        instances.len()
    );
    for name in instances {
        nodes::spawn(layout, &name)?;
    }
    until(STREAMS_WITHIN, "the instances do not all stream", || {
        let status = verb(layout, &["status", CLUSTER, "--output", "json"])?;
        let view = serde_json::from_slice::<ClusterView>(&status.stdout);
        Ok(view.is_ok_and(|view| settled(&view)))
    })
}

/// Whether a primary serves, everybody else streams, and all count.
fn settled(view: &ClusterView) -> bool {
    view.phase == "serving"
        && view.findings.is_empty()
        && view.instances.iter().all(|instance| {
            instance.standing == "voter"
                && instance.rejoin.is_none()
                && matches!(instance.state.as_str(), "running" | "streaming")
        })
}

fn until(
    within: Duration,
    otherwise: &str,
    mut done: impl FnMut() -> Result<bool, DevError>,
) -> Result<(), DevError> {
    let deadline = clock::monotonic().after(within);
    while clock::monotonic() < deadline {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(DevError::failed(format!(
        "{otherwise} within {} s; the logs above say why",
        within.as_secs()
    )))
}

/// Runs one of this program's own verbs against the peers.
fn verb(layout: &Layout, arguments: &[&str]) -> Result<Output, DevError> {
    Command::new(&layout.program)
        .args(arguments)
        .env("PRIMACY_API", layout.peers().join(","))
        .env("PRIMACY_DEV", &layout.folder)
        .output()
        .map_err(|error| DevError::failed(format!("run {}: {error}", layout.program.display())))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The end of a node's log, for people.
fn tail(layout: &Layout, node: &str) {
    let log = fs::read_to_string(layout.home(node).join("log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    let from = lines.len().saturating_sub(15);
    eprintln!("--- log of {node}");
    for line in &lines[from..] {
        eprintln!("{line}");
    }
}

/// Shows the status until Ctrl-C or a request to end.
fn watch(layout: &Layout) -> Result<(), DevError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DevError::failed(error.to_string()))?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error: std::io::Error| DevError::failed(error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            if is_terminal {
                let status = verb(layout, &["status"])?;
                let failed = text(&status.stderr);
                println!("\x1b[2J\x1b[H{}{failed}", text(&status.stdout));
                println!("dsn  {}\nCtrl-C ends it all", layout.dsn);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_touched() {
        assert!(check_durability("quorum:1", 3).is_ok());
        assert!(check_durability("async", 1).is_ok());
        for (durability, members) in [("quorum:3", 3), ("quorum:0", 3), ("sync", 3)] {
            assert!(check_durability(durability, members).unwrap_err().is_usage);
        }
        assert!(check_folder(Path::new("dev")).unwrap_err().is_usage);
        assert!(check_folder(Path::new("/etc")).unwrap_err().is_usage);
    }

    #[test]
    fn the_configurations_are_accepted() {
        let layout = plan(Path::new("/tmp/x"), None, 3).unwrap();
        let node = &layout.nodes["p1"];
        let text = server_toml(
            Path::new("/tmp/x/p1"),
            "p1",
            node,
            &random_hex(16),
            &layout.peers(),
        );
        crate::server::Config::parse(&text).unwrap();
    }
}
