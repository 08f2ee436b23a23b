//! The floor of the machine: how fast its disk and a bare promotion are, with nobody deciding anything.

use std::fmt;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tokio_postgres::Config;

use crate::clock;
use crate::disk::{Disk, Filesystem};
use crate::expectations::Network;
use crate::hosts::leftovers;
use crate::net::owner::Owner;
use crate::session::{Session, Target};

const PROMOTIONS: usize = 10;
const SYNCS: usize = 200;
const TOOL_WITHIN: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(30);
/// As much as a node has: a primary, and one standby after the other.
const DISK_BYTES: u64 = 3 << 30;

/// The machine and its floor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// How many cores.
    pub cores: usize,
    /// The median of writing 8 KiB and fdatasync, in microseconds.
    pub sync_us: Option<f64>,
    /// The median from `pg_promote(false)` to the first write, in milliseconds.
    pub promotion_ms: Option<f64>,
    /// The load average of the last minute before.
    pub load: Option<f64>,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: Option<f64>, unit: &str| {
            value.map_or("not measured".to_owned(), |it| format!("{it:.1} {unit}"))
        };
        write!(
            f,
            "machine: {} cores, load {}, write+fdatasync {}, bare promotion to first write {} (medians)",
            self.cores,
            shown(self.load, "before"),
            shown(self.sync_us, "us"),
            shown(self.promotion_ms, "ms")
        )
    }
}

/// Measures on a disk as hosts have them: not that of this machine.
///
/// # Errors
/// There is none to be had, or it cannot be removed.
pub async fn measure_on_hosts() -> anyhow::Result<Machine> {
    let owner = Owner::this();
    let [folder, memory] = leftovers::folders().map(|folder| folder.join(owner.to_string()));
    let has_memory = memory.parent().is_some_and(Path::is_dir);
    let images = if has_memory { memory } else { folder.clone() };
    for place in [&folder, &images] {
        fs::create_dir_all(place)?;
        // PostgreSQL runs as somebody else.
        fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    }
    let mounted = folder.join("disk");
    let disk = Disk::create(
        &images.join("floor.image"),
        &mounted,
        Filesystem::Ext4,
        DISK_BYTES,
    );
    let machine = match disk {
        Ok(_) => Ok(measure(&mounted.join("place")).await),
        Err(error) => Err(error),
    };
    leftovers::remove(owner)?;
    machine
}

/// Measures in the new folder `place`. What cannot be measured is said and left out.
pub async fn measure(place: &Path) -> Machine {
    let report = |what: &str, result: anyhow::Result<f64>| {
        result
            .inspect_err(|error| eprintln!("{what}: not measured: {error:#}"))
            .ok()
    };
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| text.split(' ').next()?.parse().ok());
    let _ = fs::remove_dir_all(place);
    let sync_us = report("fdatasync", sync(place));
    let promotion_ms = report("bare promotion", promotion(place).await);
    let _ = fs::remove_dir_all(place);
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        sync_us,
        promotion_ms,
        load,
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn sync(place: &Path) -> anyhow::Result<f64> {
    fs::create_dir_all(place)?;
    let mut file = File::create(place.join("sync"))?;
    let page = [7; 8192];
    let mut times = vec![];
    for _ in 0..SYNCS {
        let began = clock::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)?;
        file.sync_data()?;
        times.push(clock::now().ms_since(began) * 1000.0);
    }
    median(times).context("nothing was measured")
}

/// A throw-away primary with throw-away standbys.
struct Pair {
    binaries: PathBuf,
    place: PathBuf,
    /// PostgreSQL does not run as root: then it runs as the user whom its packages created.
    account: Option<(u32, u32)>,
}

impl Pair {
    async fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(self.binaries.join(program));
        command
            .args(arguments)
            .current_dir(&self.place)
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true);
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        let status = timeout(TOOL_WITHIN, command.status())
            .await
            .with_context(|| format!("{program} takes too long"))??;
        ensure!(status.success(), "{program} fails");
        Ok(())
    }

    async fn start(&self, name: &str, port: u16) -> anyhow::Result<()> {
        let folder = self.place.display();
        let options = format!("-p {port} -k {folder} -c listen_addresses=127.0.0.1");
        let log = format!("{name}.log");
        self.run(
            "pg_ctl",
            &["start", "-w", "-D", name, "-l", &log, "-o", &options],
        )
        .await
    }

    async fn stop(&self, name: &str) -> anyhow::Result<()> {
        self.run("pg_ctl", &["stop", "-m", "immediate", "-w", "-D", name])
            .await
    }
}

/// The newest PostgreSQL of Debian's packages, else the one on the path.
fn binaries() -> PathBuf {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = packaged
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, place)| place.join("initdb").exists())
        .max();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|place| place.join("initdb").exists())
    };
    newest
        .map(|(_, place)| place)
        .or_else(on_path)
        .unwrap_or_default()
}

fn account() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::getuid().is_root() {
        return Ok(None);
    }
    let found = fs::metadata("/var/lib/postgresql").context("there is no user postgres")?;
    Ok(Some((found.uid(), found.gid())))
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

async fn promotion(place: &Path) -> anyhow::Result<f64> {
    let pair = Pair {
        binaries: binaries(),
        place: place.to_owned(),
        account: account()?,
    };
    fs::create_dir_all(place)?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o700))?;
    if let Some((user, group)) = pair.account {
        chown(place, Some(user), Some(group))?;
    }
    let port = free_port()?;
    pair.run(
        "initdb",
        &["-D", "primary", "-U", "floor", "-A", "trust", "-k"],
    )
    .await?;
    pair.start("primary", port).await?;
    let mut times = vec![];
    let mut failed = None;
    for number in 0..PROMOTIONS {
        match one_promotion(&pair, port, &format!("standby{number}")).await {
            Ok(ms) => times.push(ms),
            Err(error) => failed = Some(error),
        }
    }
    pair.stop("primary").await?;
    match failed {
        Some(error) => Err(error),
        None => median(times).context("nothing was measured"),
    }
}

async fn one_promotion(pair: &Pair, primary: u16, name: &str) -> anyhow::Result<f64> {
    let source = format!("host=127.0.0.1 port={primary} user=floor");
    let clone = ["-D", name, "-d", &source, "-c", "fast", "-R"];
    pair.run("pg_basebackup", &clone).await?;
    let port = free_port()?;
    pair.start(name, port).await?;
    let measured = timeout(READY_WITHIN, promote(primary, port)).await;
    pair.stop(name).await?;
    fs::remove_dir_all(pair.place.join(name))?;
    measured.context("the standby is not promoted in time")?
}

async fn promote(primary: u16, standby: u16) -> anyhow::Result<f64> {
    let source = session(primary).await?;
    source
        .client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS floor (id bigint);
             INSERT INTO floor VALUES (1)",
        )
        .await?;
    let target = session(standby).await?;
    // Until it streams and has the table.
    while target
        .client
        .query("SELECT 1 FROM floor", &[])
        .await
        .is_err()
    {
        sleep(Duration::from_millis(10)).await;
    }
    let began = clock::now();
    target
        .client
        .batch_execute("SELECT pg_promote(false)")
        .await?;
    while target
        .client
        .batch_execute("INSERT INTO floor VALUES (2)")
        .await
        .is_err()
    {
        ensure!(!target.client.is_closed(), "the standby ended its session");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(clock::now().ms_since(began))
}

async fn session(port: u16) -> anyhow::Result<Session> {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user("floor")
        .dbname("postgres");
    Session::open(&Target {
        node: "floor".into(),
        config,
        patience: Network::Lan.expectations().patience,
    })
    .await
}
