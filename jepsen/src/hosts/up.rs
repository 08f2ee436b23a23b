//! Bringing hosts up: every wait is for a condition, with a deadline.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::certificates::{self, Authority};
use super::control_group::ControlGroup;
use super::layout::{Host, Kind, Layout};
use super::machine::{Machine, Program, WallClock, faketime};
use super::{Hosts, Settings, configuration, leftovers};
use crate::clock;
use crate::disk::fsync::Shim;
use crate::disk::{Disk, Filesystem};
use crate::expectations;
use crate::http::Certificate;
use crate::net::owner::Owner;
use crate::net::plane::{self, Plane};
use crate::net::{self, Network};

const LEADER_WITHIN: Duration = Duration::from_secs(20);
const STREAMS_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
/// Files with holes: only what is written takes place.
const NODE_BYTES: u64 = 3 << 30;
const PEER_BYTES: u64 = 400 << 20;

impl Hosts {
    /// Starts everything in place of whatever dead owners left; returns when all members stream.
    ///
    /// # Errors
    /// Something of [`super::missing`] is missing, or a step does not succeed in time: then the logs are in the
    /// folder that the error names, and everything else is taken down.
    pub fn up(settings: &Settings) -> anyhow::Result<Hosts> {
        let missing = super::missing();
        ensure!(missing.is_empty(), "hosts need {}", missing.join(", "));
        ensure!(
            !settings.clocks || faketime().is_some(),
            "clocks need libfaketime: apt-get install faketime"
        );
        for gone in leftovers::remove_all()? {
            eprintln!("removed what {gone} had left");
        }
        let mut hosts = match prepare(settings) {
            Ok(hosts) => hosts,
            Err(error) => {
                leftovers::remove(Owner::this())?;
                return Err(error);
            }
        };
        match hosts.start(settings) {
            Ok(()) => Ok(hosts),
            Err(error) => {
                let kept = format!("jepsen-hosts-failed-{}", std::process::id());
                let kept = std::env::temp_dir().join(kept);
                hosts.keep_logs(&kept)?;
                Err(error.context(format!("the logs are in {}", kept.display())))
            }
        }
    }

    fn start(&mut self, settings: &Settings) -> anyhow::Result<()> {
        self.put_apart()?;
        for peer in self.layout.names(Kind::Peer) {
            self.machine(&peer)?.start()?;
        }
        let began = clock::now();
        // Whoever is asked to create the cluster must know whom to pass it on to.
        while !self.peers_agree() {
            let waited = clock::now().since(began);
            ensure!(waited < LEADER_WITHIN, "the peers do not agree on a leader");
            std::thread::sleep(POLL);
        }
        self.primacy(&configuration::create(&self.layout, &settings.durability))
            .context("create the cluster")?;
        for node in self.layout.names(Kind::Node) {
            self.machine(&node)?.start()?;
        }
        let healed = |view: &crate::cluster::View| view.is_healed();
        self.until(STREAMS_WITHIN, "streaming", healed)?;
        Ok(())
    }
}

fn prepare(settings: &Settings) -> anyhow::Result<Hosts> {
    let owner = Owner::this();
    let [folder, memory] = leftovers::folders().map(|folder| folder.join(owner.to_string()));
    let images = if memory.parent().is_some_and(Path::is_dir) {
        memory
    } else {
        folder.join("images")
    };
    fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
    // Everybody must reach it: PostgreSQL runs as somebody else.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(&images)?;
    let binary = folder.join("primacy");
    fs::copy(&settings.program, &binary).context("copy the program under test")?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;

    let layout = Layout::new(settings.nodes);
    let names: Vec<_> = layout.all().iter().map(|host| host.name.clone()).collect();
    let plane = Plane::found().context(plane::NEEDED)?;
    let network = Network::up(plane, owner, &names, &folder, settings.seed)?;
    let group = secret()?;
    let authority = Authority::create(&binary, &folder, &group)?;
    let own = folder.join(certificates::OWN);
    authority.equip_harness(&own)?;
    let site = Site {
        owner,
        shim: Shim::compile(&folder)?,
        account: account()?,
        group,
        authority,
        replication: secret()?,
        password: secret()?,
        clocks: settings.clocks,
        environment: settings.environment.clone(),
        network: expectations::Network::for_zones(settings.apart_ms),
        layout,
        folder,
        images,
    };
    let mut machines = BTreeMap::new();
    for (number, host) in site.layout.all().iter().enumerate() {
        if matches!(host.kind, Kind::Peer | Kind::Node) {
            machines.insert(host.name.clone(), site.machine(number, host)?);
        }
    }
    Ok(Hosts {
        owner,
        folder: site.folder,
        apart_ms: settings.apart_ms,
        layout: site.layout,
        password: site.password,
        certificate: Certificate::read(&own)?,
        network,
        machines,
    })
}

/// What all machines have in common.
struct Site {
    owner: Owner,
    folder: PathBuf,
    images: PathBuf,
    layout: Layout,
    shim: Shim,
    account: (u32, u32),
    group: String,
    authority: Authority,
    replication: String,
    password: String,
    clocks: bool,
    environment: Vec<(&'static str, String)>,
    network: expectations::Network,
}

impl Site {
    fn machine(&self, number: usize, host: &Host) -> anyhow::Result<Machine> {
        let home = self.folder.join(&host.name);
        let image = self.images.join(format!("{}.image", host.name));
        // Both kinds, if both can be had.
        let kind = if number % 2 == 1 && Filesystem::Xfs.is_available() {
            Filesystem::Xfs
        } else {
            Filesystem::Ext4
        };
        let (verb, bytes) = match host.kind {
            Kind::Peer => ("server", PEER_BYTES),
            Kind::Node | Kind::Client | Kind::Watch => ("agent", NODE_BYTES),
        };
        let disk = Disk::create(&image, &home, kind, bytes)?;
        let (user, group) = self.account;
        chown(&home, Some(user), Some(group))?;
        self.authority.equip(host, &home, self.account)?;
        let configuration = home.join(format!("{verb}.toml"));
        if host.kind == Kind::Peer {
            let text = configuration::server(&self.layout, host, &home, &self.group, self.network);
            self.write(&configuration, &text)?;
        } else {
            let text = configuration::agent(&self.layout, host, &home);
            self.write(&configuration, &text)?;
            self.write(&home.join("replication.password"), &self.replication)?;
            self.write(&home.join("application.password"), &self.password)?;
        }
        // The installation itself survives the first power cut.
        rustix::fs::syncfs(fs::File::open(&home)?)?;
        let clock = self.folder.join(format!("clock-{}", host.name));
        let clock = self.clocks.then(|| WallClock::create(clock)).transpose()?;
        let program = Program {
            binary: self.folder.join("primacy"),
            verb,
            configuration,
            home,
            log: self.folder.join(format!("{}.log", host.name)),
            account: self.account,
            environment: self.environment.clone(),
        };
        Ok(Machine::new(
            net::of(self.owner, &host.name),
            ControlGroup::create(&self.owner.to_string(), &host.name)?,
            disk,
            self.shim.switch(&self.folder, &host.name),
            clock,
            program,
        ))
    }

    fn write(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        let (user, group) = self.account;
        Ok(chown(path, Some(user), Some(group))?)
    }
}

/// The user that PostgreSQL's packages make: it refuses to run as root.
fn account() -> anyhow::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_postgres = fields.next() == Some("postgres");
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        is_postgres.then_some((user, group))
    });
    found.context("there is no user postgres")
}

/// 16 random bytes in hexadecimal digits.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
