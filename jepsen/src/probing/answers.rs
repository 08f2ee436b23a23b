//! What simulated servers say of themselves: clusters of a primary and two standbys that stream and have applied all,
//! while clients write all the time. Every answer has other positions than the one before.

use serde_json::json;

use crate::clock::{self, Moment};

/// So many instances make a cluster.
pub const OF_A_CLUSTER: u16 = 3;
/// Bytes of WAL in a millisecond.
const WRITTEN_PER_MS: u64 = 1_000;
const BEGINNING: u64 = 0x3000_0000;
const HOST: &str = "127.0.0.1";

/// One simulated server, known by its port.
#[derive(Debug, Clone, Copy)]
pub struct Instance {
    /// The port of the first of all.
    pub base: u16,
    /// Which of all it is.
    pub number: u16,
    /// How many there are.
    pub count: u16,
    /// When the first began to write.
    pub since: Moment,
}

/// What a server answers to a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Rows of so many columns, as text.
    Rows(usize, Vec<Vec<Option<String>>>),
    /// That it is done.
    Done(&'static str),
}

fn text(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}

impl Instance {
    /// Where it listens.
    pub fn port(self) -> u16 {
        self.base + self.number
    }

    fn primary(self) -> Instance {
        Instance {
            number: self.number - self.place(),
            ..self
        }
    }

    /// 0 is the primary.
    fn place(self) -> u16 {
        self.number % OF_A_CLUSTER
    }

    fn system(self) -> u64 {
        7_000_000_000_000_000_000 + u64::from(self.number / OF_A_CLUSTER)
    }

    /// Where the WAL of its cluster ends now.
    fn lsn(self) -> String {
        let ms = clock::now().since(self.since).as_millis();
        let at = BEGINNING + u64::try_from(ms).unwrap_or(0) * WRITTEN_PER_MS;
        format!("{:X}/{:X}", at >> 32, at & 0xFFFF_FFFF)
    }

    /// What it answers. What it does not know it answers with no rows.
    pub fn answer(self, statement: &str) -> Answer {
        let statement = statement.trim_start();
        if statement.starts_with("SET ") {
            return Answer::Done("SET");
        }
        if statement.contains("pg_control_system") {
            let row = self.itself();
            return Answer::Rows(row.len(), vec![row]);
        }
        let one = |value: &str| Answer::Rows(1, vec![vec![text(value)]]);
        if statement == "SELECT current_user" {
            return one("watcher");
        }
        if statement.contains("json_build_object") && statement.contains("max_wal_senders") {
            return one(r#"{"senders": 10, "slots": 10}"#);
        }
        // A preflight: all is well, and the lines of its file may not be read.
        if statement.starts_with("SELECT (") {
            let is_well = !statement.starts_with("SELECT (has_table_privilege('pg_hba_file_rules'");
            let columns = statement.matches("), (").count() + 1;
            let letter = if is_well { "t" } else { "f" };
            return Answer::Rows(columns, vec![vec![text(letter); columns]]);
        }
        // The names of standbys are in force, and they have all (`provider/postgres/barrier.rs`).
        if statement.contains("CheckpointerMain") || statement.contains("bool_and") {
            return Answer::Rows(1, vec![vec![text("t")]]);
        }
        Answer::Rows(1, vec![])
    }

    /// The columns of the statement that says what an instance is, in its order (`provider/postgres/snapshot.rs`).
    fn itself(self) -> Vec<Option<String>> {
        let is_standby = self.place() > 0;
        let of_standby = |value: &str| text(value).filter(|_| is_standby);
        let (name, source) = (format!("s{}", self.place()), self.primary().port());
        let conninfo = format!("host={HOST} port={source} user=replicator application_name={name}");
        let lsn = self.lsn();
        let replicas = self.replicas();
        // Else no commit of it would ever be acknowledged, and the cluster would not be healthy.
        let is_alone = !is_standby && replicas.is_none();
        vec![
            text(is_standby),
            text(self.system()),
            text(self.port()),
            text(of_standby(&conninfo).unwrap_or_default()),
            text(of_standby(&name).unwrap_or_default()),
            text(if is_alone { "" } else { "ANY 1 (s1, s2)" }),
            text("on"),
            text("off"),
            of_standby("not paused"),
            of_standby(&lsn),
            text(&lsn),
            text("000000010000000000000003").filter(|_| !is_standby),
            of_standby("1"),
            None,
            of_standby("streaming"),
            of_standby(HOST),
            of_standby(&source.to_string()),
            of_standby(&format!("{conninfo} sslmode=require")),
            of_standby("120"),
            of_standby("0"),
            text(5_000),
            text(true),
            text(0),
            text("15.18 (Debian 15.18-0+deb12u1)"),
            of_standby("false"),
            text(1_700_000_000_000_000 + u64::from(self.port())),
            text(format!("{lsn} {lsn} 8192 16777216")).filter(|_| !is_standby),
            None,
            replicas,
        ]
    }

    /// Who receives from it, in JSON; none if there is nobody.
    fn replicas(self) -> Option<String> {
        let places = match self.place() {
            0 => 1..OF_A_CLUSTER.min(self.count - self.number),
            _ => 0..0,
        };
        let lsn = self.lsn();
        let row = |place| json!([format!("s{place}"), HOST, "streaming", "quorum", lsn, lsn]);
        let rows: Vec<_> = places.map(row).collect();
        (!rows.is_empty()).then(|| json!(rows).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_follow_the_primary_of_their_cluster() {
        let of = |number| Instance {
            base: 20_000,
            number,
            count: 6,
            since: clock::now(),
        };
        let row = |number| match of(number).answer("SELECT pg_control_system()") {
            Answer::Rows(columns, rows) => {
                assert_eq!(rows[0].len(), columns);
                rows[0].clone()
            }
            Answer::Done(_) => panic!("no rows"),
        };
        let (primary, standby) = (row(3), row(5));
        assert_eq!(
            (primary[0].as_deref(), standby[0].as_deref()),
            (Some("false"), Some("true"))
        );
        assert_eq!(primary[1], standby[1], "of one history");
        assert_eq!(standby[16].as_deref(), Some("20003"));
        assert_ne!(row(2)[1], primary[1]);
        let replicas = primary[28].as_deref().unwrap_or_default();
        assert!(replicas.starts_with(r#"[["s1","127.0.0.1","streaming","quorum","0/3"#));
        assert!(replicas.contains("s2") && !replicas.contains("s3"));
        assert_eq!(standby[28], None);
    }

    #[test]
    fn a_preflight_finds_nothing_missing() {
        let instance = Instance {
            base: 20_000,
            number: 0,
            count: 3,
            since: clock::now(),
        };
        let asked = |statement| match instance.answer(statement) {
            Answer::Rows(columns, rows) => (columns, rows),
            Answer::Done(_) => panic!("no rows"),
        };
        let well = vec![vec![text("t"); 2]];
        let found =
            asked("SELECT (has_function_privilege('f(a, b)', 'EXECUTE')), (pg_hba_file_rules)");
        assert_eq!(found, (2, well));
        let lines = asked("SELECT (has_table_privilege('pg_hba_file_rules', 'SELECT'))");
        assert_eq!(lines, (1, vec![vec![text("f")]]));
    }
}
