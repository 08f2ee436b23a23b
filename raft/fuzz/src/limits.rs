//! What each decoder may cost: the one table of all limits.

/// One decoder of what comes from outside of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its name, in one test.
    pub name: &'static str,
    /// The most bytes that it is given.
    pub input: usize,
    /// Who refuses more.
    pub kept_by: Keeper,
    /// The most bytes of memory for each byte of input.
    pub per_byte: usize,
    /// The most bytes of memory beside that.
    pub fixed: usize,
}

/// Who keeps input that is too long from a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// The decoder refuses it.
    Itself,
    /// Whoever has it: a server of HTTP, a TLS handshake, the reader of a file. That is tested there.
    Caller,
}

impl Limit {
    /// The most bytes that may be allocated at a time while an input of this length is decoded, the value included.
    pub fn most(&self, length: usize) -> usize {
        self.fixed + self.per_byte * length.min(self.input)
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Every decoder, with its limits.
pub const LIMITS: &[Limit] = &[
    // What a peer is sent. Records: lengths in them are only claims, and serde reserves up to 1 MiB for each of those that
    // stand within each other. Entries are larger in memory than on the wire, and a list doubles as it grows.
    record("raft: append", 4 * MIB),
    record("raft: vote", 64 * KIB),
    record("raft: transfer", 64 * KIB),
    record("raft: snapshot", 64 * MIB + 64 * KIB),
    record("raft: birth", 64 * KIB),
    record("raft: append answer", 64 * KIB),
    record("raft: vote answer", 64 * KIB),
    record("raft: transfer answer", 64 * KIB),
    record("raft: snapshot answer", 64 * KIB),
    record("raft: birth answer", 64 * KIB),
    handed("raft: call", 408 * KIB),
    // What a peer finds in its folder.
    record("raft: identity file", KIB),
    record("raft: lease file", KIB),
    record("raft: witness note", 4 * KIB),
    record("raft: snapshot file", 64 * MIB),
    record("raft: log entry", 49 * KIB + 4),
    record("raft: log parts", 64 * KIB),
    record("raft: log mark", KIB),
    record("raft: log place", KIB),
    record("raft: saved file", 64 * MIB + KIB),
    // What agents and peers say to each other, and what peers replicate.
    record("control: agent message", 256 * KIB + 5),
    record("control: peer message", 256 * KIB + 5),
    // Room for a whole frame is made as soon as its length is known.
    Limit {
        fixed: MIB,
        ..handed("control: framing", 256 * KIB)
    },
    record("state: command", 49 * KIB),
    record("state: snapshot", 64 * MIB),
    record("state: clusters", 64 * MIB),
    // Lines between agent and leash.
    handed("leash: request", 64),
    handed("leash: reply", 4 * KIB),
    // Files and lines on a database host. Most are read whole, up to the limit of `host::durable`.
    text("agent: promise", 16 * MIB),
    handed("agent: lease note", 16 * MIB),
    handed("agent: who backs", 4 * KIB),
    text("agent: consent", 16 * MIB),
    text("agent: peers file", 16 * MIB),
    handed("agent: lag", 408 * KIB),
    handed("agent: note of what was kept", 16 * MIB),
    text("host: filling", 16 * MIB),
    handed("host: postgresql.conf", 16 * MIB),
    handed("host: postmaster.pid", 16 * MIB),
    handed("host: process", 64 * KIB),
    handed("host: program's version", 64 * KIB),
    handed("host: program's progress", 64 * KIB),
    handed("host: note of kept WAL", 16 * MIB),
    handed("host: pg_waldump's lines", 1024 * MIB),
    handed("host: timeline history", 16 * MIB),
    handed("host: control file", 8 * KIB),
    handed("host: wal", 16 * MIB),
    handed("provider: conninfo", MIB),
    handed("provider: password file", MIB),
    handed("provider: synchronous names", MIB),
    handed("provider: lsn", MIB),
    handed("provider: look", MIB),
    // Lists of what is large in memory and may be two bytes of JSON.
    costly("provider: who receives", MIB),
    costly("provider: slots", MIB),
    costly("provider: places", MIB),
    costly("provider: pg_hba.conf", MIB),
    // What people write.
    costly("server: configuration", 256 * KIB),
    costly("agent: configuration", 256 * KIB),
    // Certificates and tokens.
    handed("security: join token", 408 * KIB),
    record("security: join token's record", 8 * KIB),
    handed("security: bearer token", 408 * KIB),
    record("security: token's record", 48 * KIB),
    record("security: enrol", 32 * KIB),
    record("security: enrolled", 32 * KIB),
    handed("security: identity", 64 * KIB),
    costly("security: certificate", 64 * KIB),
    costly("security: chain", 64 * KIB),
    handed("security: pem", 16 * MIB),
    costly("security: authority", 16 * MIB),
    costly("security: signing request", 32 * KIB),
    // The HTTP API: bodies, heads, and answers to other peers and tools.
    handed("http: new cluster", 64 * KIB),
    handed("http: invitation", 64 * KIB),
    handed("http: transfer", 64 * KIB),
    handed("http: guest", 64 * KIB),
    handed("http: token", 64 * KIB),
    handed("http: hold", 64 * KIB),
    handed("http: promotion rule", 64 * KIB),
    handed("http: block", 64 * KIB),
    handed("http: priority", 64 * KIB),
    handed("http: acknowledgement", 64 * KIB),
    handed("http: durability", 64 * KIB),
    handed("http: adoption", 64 * KIB),
    handed("http: switchover", 64 * KIB),
    handed("http: forced failover", 64 * KIB),
    handed("http: change", 408 * KIB),
    handed("answer: problem", 8 * MIB),
    handed("answer: look", 8 * MIB),
    handed("answer: word", 8 * MIB),
    handed("answer: opinion", 8 * MIB),
    handed("answer: feature level", 8 * MIB),
    handed("answer: leader", 8 * MIB),
    handed("answer: peers", 8 * MIB),
    handed("answer: cluster", 8 * MIB),
    handed("answer: recoveries", 8 * MIB),
    handed("answer: adoption", 8 * MIB),
    handed("answer: explanation", 8 * MIB),
    handed("answer: pause", 8 * MIB),
    handed("answer: problems", 8 * MIB),
    // What is read of its answer.
    handed("answer: consul", 256 * KIB),
    handed("dev: layout", 64 * KIB),
    // Histories for `jepsen check`.
    handed("jepsen: edn", 1024 * MIB),
    handed("jepsen: json lines", 1024 * MIB),
];

const fn record(name: &'static str, input: usize) -> Limit {
    Limit {
        name,
        input,
        kept_by: Keeper::Itself,
        per_byte: 16,
        fixed: 2 * MIB + 64 * KIB,
    }
}

/// Text and DER: lists double as they grow, and a value of a few bytes is large in memory.
const fn text(name: &'static str, input: usize) -> Limit {
    Limit {
        name,
        input,
        kept_by: Keeper::Itself,
        per_byte: 64,
        fixed: 64 * KIB,
    }
}

const fn handed(name: &'static str, input: usize) -> Limit {
    Limit {
        kept_by: Keeper::Caller,
        ..text(name, input)
    }
}

/// Parsers that make a tree of large values from two bytes each, of what its owner or a handshake bounds.
const fn costly(name: &'static str, input: usize) -> Limit {
    Limit {
        per_byte: 256,
        ..handed(name, input)
    }
}

/// The limits of this decoder.
pub(crate) fn of(name: &str) -> &'static Limit {
    let found = LIMITS.iter().find(|limit| limit.name == name);
    found.unwrap_or_else(|| panic!("{name} is not in the table of limits"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The tests that name targets.
    fn sources() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = std::fs::read_dir(root.join("src/fuzz_tests")).unwrap();
        let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        files.push(root.join("raft/src/fuzz_tests.rs"));
        files.push(root.join("jepsen/src/history/fuzz_tests.rs"));
        let texts = files
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap());
        texts.collect()
    }

    #[test]
    fn every_decoder_in_the_table_has_one_test() {
        let sources = sources();
        for limit in LIMITS {
            let times = sources.matches(&format!("\"{}\"", limit.name)).count();
            assert_eq!(times, 1, "{}", limit.name);
        }
    }
}
