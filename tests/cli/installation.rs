//! An installation as its users begin it: `primacy server init` on the first host, join tokens for everybody else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::rig::{Running, free_address, program, read, told, until};

/// Three peers over TLS, and whoever joins them.
pub struct Installation {
    pub folder: tempfile::TempDir,
    pub addresses: Vec<String>,
    pub running: Vec<Running>,
    /// With which the others of the first peers joined.
    pub tokens: Vec<String>,
}

/// The join tokens in what a verb printed.
pub fn tokens(text: &str) -> Vec<String> {
    let quoted = |line: &str| {
        Some(
            line.strip_prefix("join = \"")?
                .strip_suffix('"')?
                .to_owned(),
        )
    };
    text.lines().filter_map(quoted).collect()
}

impl Installation {
    /// Three addresses and a folder; nothing is there yet.
    pub fn plan() -> Installation {
        Installation {
            folder: tempfile::tempdir().unwrap(),
            addresses: (0..3).map(|_| free_address()).collect(),
            running: vec![],
            tokens: vec![],
        }
    }

    pub fn start() -> Installation {
        let mut made = Installation::plan();
        made.tokens = made.init();
        let first = made.spawn("p1");
        made.running.push(first);
        for (number, token) in (2..).zip(made.tokens.clone()) {
            let address = made.addresses[number - 1].clone();
            made.configure(&format!("p{number}"), &address, Some(&token));
            let peer = made.spawn(&format!("p{number}"));
            made.running.push(peer);
        }
        made.until_led();
        made
    }

    /// Prepares the first peer; gives the tokens of the others.
    pub fn init(&self) -> Vec<String> {
        let home = self.path("p1");
        let config = self.path("p1.toml");
        let mut command = program();
        command.args(["server", "init", "--zone", "z1", "--folder"]);
        command.arg(&home).arg("--config").arg(&config);
        let (code, text, errors) = told(command.args(&self.addresses).output().unwrap());
        assert_eq!(code, Some(0), "{errors}");
        let tokens = tokens(&text);
        assert_eq!(tokens.len(), self.addresses.len() - 1, "{text}");
        tokens
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration of a peer that joins.
    pub fn configure(&self, name: &str, address: &str, token: Option<&str>) {
        let join = token.map_or(String::new(), |token| format!("join = \"{token}\"\n"));
        let text = format!(
            "zone = \"z4\"\nfolder = \"{}\"\nlisten = \"{address}\"\n{join}",
            self.path(name).display()
        );
        fs::write(self.path(&format!("{name}.toml")), text).unwrap();
    }

    /// Runs a peer that is configured; its log goes to a file.
    pub fn spawn(&self, name: &str) -> Running {
        let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let mut command = program();
        command.env("RUST_LOG", "debug");
        command.args(["server", "--config"]);
        command.arg(self.path(&format!("{name}.toml")));
        Running(command.stderr(log).stdout(Stdio::null()).spawn().unwrap())
    }

    pub fn log(&self, name: &str) -> String {
        read(&self.path(&format!("{name}.log")))
    }

    /// What an owner calls: the first peer's own certificate will do.
    pub fn verb(&self) -> Command {
        self.verb_with(&self.path("p1/tls"))
    }

    pub fn verb_with(&self, tls: &Path) -> Command {
        let mut command = program();
        command
            .env("PRIMACY_TLS", tls)
            .env("PRIMACY_API", self.addresses.join(","));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        told(self.verb().args(arguments).output().unwrap())
    }

    pub fn json(&self, arguments: &[&str]) -> Option<Value> {
        let (code, text, _) = self.run(&[arguments, &["--output", "json"]].concat());
        (code == Some(0)).then(|| serde_json::from_str(&text).unwrap())
    }

    pub fn until_led(&self) {
        until("a leader is elected", || self.json(&["leader"]).is_some());
    }

    /// The number of the peer that leads.
    pub fn leader(&self) -> u64 {
        let mut leader = None;
        until("a leader is elected", || {
            leader = self.json(&["leader"]).and_then(|it| it["leader"].as_u64());
            leader.is_some()
        });
        leader.unwrap()
    }
}

/// The exit code of a process that ends.
pub fn ends(process: &mut Running) -> Option<i32> {
    let mut code = None;
    until("it ends", || {
        code = process.0.try_wait().unwrap().map(|status| status.code());
        code.is_some()
    });
    code.unwrap()
}
