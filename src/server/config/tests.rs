use std::time::Duration;

use super::*;
use crate::model::Durability;
use crate::model::example::cluster;
use crate::security::SslMode;

/// As it stands in the documentation of the database provider abstraction that others know.
const ORCHESTRATORS: &str = r#"{
  "ProviderType": "postgresql",
  "PostgreSQLTopologyUser": "orchestrator",
  "PostgreSQLTopologyPassword": "secret",
  "PostgreSQLSSLMode": "require",
  "DefaultInstancePort": 5432
}"#;

const GOOD: &str = r#"
id = 1
group = "00000000-0000-0000-0000-000000000001"
zone = "z1"
folder = "/tmp/peer"
listen = "127.0.0.1:7001"
peers = {1="127.0.0.1:7001", 2="127.0.0.1:7002", 3="127.0.0.1:7003"}
"#;

/// A leader that dies takes twice the longest election timeout to replace; then one round to a majority, and half
/// a second for whatever is slow.
#[test]
fn no_primary_loses_its_lease_because_a_leader_dies() {
    for network in [Network::Lan, Network::Wan] {
        for durability in [Durability::Async, Durability::Quorum { standbys: 1 }] {
            let lease = cluster(&["a", "b"], durability).lease_length(network);
            let replaced = timing(network).election_max * 2 + timing(network).heartbeat;
            let slow = Duration::from_millis(500);
            assert!(replaced + slow < lease * 3 / 4, "{network:?} {durability}");
        }
    }
}

#[test]
fn a_good_configuration() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.peers.len(), 3);
    assert!(config.warnings.is_empty());
}

#[test]
fn at_least_one_recovery_may_run() {
    let with = |many: i32| Config::parse(&format!("max_concurrent_recoveries = {many}\n{GOOD}"));
    assert_eq!(with(1).unwrap().max_concurrent_recoveries, 1);
    for none in [0, -1] {
        let ConfigError(why) = with(none).unwrap_err();
        assert!(why.contains("max_concurrent_recoveries"), "{why}");
    }
}

#[test]
fn peers_that_would_recover_differently_have_another_digest() {
    let of = |more: &str| {
        let text = format!("{more}{GOOD}");
        Config::parse(&text).unwrap().recovery_digest()
    };
    assert_eq!(of(""), of("max_concurrent_recoveries = 32\n"));
    let others = [
        "max_concurrent_recoveries = 8\n",
        "hooks = {PreFailoverProcesses = [\"a\", \"b\"]}\n",
        "hooks = {PreFailoverProcesses = [\"a b\"]}\n",
        "hooks = {PostFailoverProcesses = [\"a b\"]}\n",
        "network = \"wan\"\n",
    ];
    let all: std::collections::BTreeSet<_> = others.into_iter().map(of).collect();
    assert_eq!(all.len(), others.len(), "the pace is none of it");
    assert!(all.contains(&of("")));
}

#[test]
fn plain_http_is_for_loopback() {
    let plain = format!("plain_http = true\n{GOOD}");
    let config = Config::parse(&plain).unwrap();
    assert!(config.tls.is_none());
    let open = |text: &str| text.replace("listen = \"127.0.0.1", "listen = \"0.0.0.0");
    let ConfigError(why) = Config::parse(&open(&plain)).unwrap_err();
    assert!(why.starts_with("plain_http: 0.0.0.0:7001 can"), "{why}");
    let config = Config::parse(&open(GOOD)).unwrap();
    let files = Files::built_in(&config.tls_folder());
    assert!(config.warnings.is_empty() && config.tls == Some(files));
    let own = "tls = {ca = \"/a\", certificate = \"/b\", key = \"/c\"}\n";
    let config = Config::parse(&format!("{own}{GOOD}")).unwrap();
    assert_eq!(config.tls.unwrap().authorities, PathBuf::from("/a"));
    assert!(Config::parse(&format!("{own}{plain}")).is_err());
}

#[test]
fn a_peer_that_joins_is_given_its_place() {
    let keep = |line: &&str| {
        ["zone", "folder", "listen"]
            .iter()
            .any(|it| line.starts_with(it))
    };
    let place: Vec<_> = GOOD.lines().filter(keep).collect();
    let place = place.join("\n");
    // Restarted without its token.
    let config = Config::parse(&place).unwrap();
    assert!(config.joins && config.peers.is_empty() && config.token.is_none());
    let ConfigError(why) = Config::parse(&format!("{place}\njoin = \"x\"")).unwrap_err();
    assert!(why.starts_with("join: this is no join token"), "{why}");
    let ConfigError(why) = Config::parse(&format!("{GOOD}join = \"x\"")).unwrap_err();
    assert!(why.starts_with("join: "), "{why}");
    assert!(!Config::parse(GOOD).unwrap().joins);
}

#[test]
fn refusals_name_the_field_in_one_sentence() {
    let cases = [
        ("zone = \"z1\"", "zonne = \"z1\"", "zonne"),
        ("zone = \"z1\"", "", "zone"),
        ("zone = \"z1\"", "zone = \"Z 1\"", "zone"),
        ("id = 1", "id = 9", "peers"),
        ("3=\"127.0.0.1:7003\"", "3=\"127.0.0.1:7001\"", "peers"),
        (", 3=\"127.0.0.1:7003\"", "", "peers"),
        ("3=\"127.0.0.1:7003\"", "3=\"nowhere\"", "peers.3"),
        ("3=\"127.0.0.1:7003\"", "0=\"127.0.0.1:7003\"", "peers"),
        (
            "3=\"127.0.0.1:7003\"",
            "4294967296=\"127.0.0.1:7003\"",
            "peers",
        ),
        ("000000000001", "00000000000x", "group"),
        ("\"/tmp/peer\"", "\"peer\"", "folder"),
    ];
    for (from, to, field) in cases {
        let ConfigError(why) = Config::parse(&GOOD.replace(from, to)).unwrap_err();
        assert!(why.contains(field) && !why.contains('\n'), "{to}: {why}");
    }
}

#[test]
fn the_sample_shows_every_field_and_its_default() {
    let sample = include_str!("../../../docs/server.toml");
    let given = config::all_given(sample);
    for field in config::fields::<File>("") {
        if field == "join" || field.starts_with(char::is_uppercase) {
            // Instead of others, so it is not among what may be given beside them.
            assert!(sample.contains(&format!("\n# {field} = ")), "{field}");
            continue;
        }
        let is_shown = given.contains(&format!("\n{field} = "));
        let is_table = given.contains(&format!("\n[{field}]"));
        assert!(is_shown || is_table, "{field} is not shown");
    }
    let least: File = toml::from_str(sample).unwrap();
    let all: File = toml::from_str(&given).unwrap();
    // What has no default is absent if it is not given.
    let (tls, postgresql) = (all.tls.clone(), all.postgresql.clone());
    let publish = all.publish.clone();
    assert_eq!(
        File {
            tls,
            postgresql,
            publish,
            ..least
        },
        all
    );
    for field in config::fields::<File>("[postgresql]") {
        // The one that stands instead of another is no field of a file that gives all.
        let is_shown = ["#", "# "].map(|it| sample.contains(&format!("\n{it}{field} = ")));
        assert!(is_shown.contains(&true), "{field}");
    }
    for table in ["[publish]", "[hooks]"] {
        for field in config::fields::<File>(table) {
            assert!(sample.contains(&format!("\n#{field} = ")), "{field}");
        }
    }
    let config = Config::parse(sample).unwrap();
    assert!(config.warnings.is_empty());
}

fn why(text: &str) -> String {
    let ConfigError(why) = Config::parse(text).unwrap_err();
    assert!(!why.contains('\n') && !why.contains("secret"), "{why}");
    why
}

#[test]
fn a1_a_file_for_orchestrator_is_enough() {
    let config = Config::parse(ORCHESTRATORS).unwrap();
    assert!(config.is_alone && config.joins && config.tls.is_some());
    assert!(config.folder.is_absolute() && config.listen.ip().is_loopback());
    assert!(config.holds_a_password());
    assert_eq!(
        config.warnings,
        ["the group has one peer: nothing is highly available"]
    );
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
    let login = config.postgresql.unwrap();
    assert_eq!(
        login,
        TopologyLogin {
            engine: crate::provider::Engine::named("postgresql").unwrap(),
            user: "orchestrator".to_owned(),
            password: Password::Text("secret".to_owned()),
            database: "postgres".to_owned(),
            ssl_mode: SslMode::Require,
            files: Default::default(),
            default_port: 5432,
        }
    );
    assert!(login.tls().is_ok());
    // What is not given has the default that is documented there.
    let least = r#"{"ProviderType": "postgresql", "PostgreSQLTopologyUser": "u"}"#;
    let login = Config::parse(least).unwrap().postgresql.unwrap();
    assert_eq!(
        (login.ssl_mode, login.password, login.default_port),
        (SslMode::Require, Password::None, 5432)
    );
    let nobody = Config::parse(r#"{"ProviderType": "postgresql"}"#).unwrap();
    assert!(nobody.postgresql.is_none() && nobody.warnings.len() == 2);
}

#[test]
fn a1_what_is_wrong_in_a_file_for_orchestrator_is_named() {
    let with = |from: &str, to: &str| {
        let text = ORCHESTRATORS.replace(from, to);
        assert_ne!(text, ORCHESTRATORS);
        why(&text)
    };
    assert_eq!(
        with("\"require\"", "\"prefer\""),
        "PostgreSQLSSLMode: 'prefer' must be disable, require, verify-ca or verify-full; correct it"
    );
    assert!(with("\"require\"", "\"verify-full\"").starts_with("PostgreSQLSSLMode: verify-full"));
    assert_eq!(
        with("\"postgresql\"", "\"oracle\""),
        "ProviderType: 'oracle' is none of \"mysql\", \"postgresql\"; set ProviderType to \"postgresql\""
    );
    assert!(with("\"postgresql\"", "\"mysql\"").starts_with("ProviderType: \"mysql\" is not"));
    let missing = with("\"ProviderType\": \"postgresql\",", "");
    assert!(missing.starts_with("ProviderType: it is missing, which means \"mysql\""));
    assert!(missing.ends_with("set ProviderType to \"postgresql\""));
    assert_eq!(
        with("PostgreSQLSSLMode", "PostgresSSLMode"),
        "line 5: unknown field `PostgresSSLMode`, the nearest one that there is is `PostgreSQLSSLMode`; correct or \
         remove it, docs/server.toml shows all"
    );
    assert!(with("TopologyPassword", "Password").contains("is `PostgreSQLTopologyPassword`"));
    assert!(
        with("\"secret\"", "4711").starts_with("line 4: `PostgreSQLTopologyPassword`: it must")
    );
    assert!(with("5432", "70000").starts_with("line 6: `DefaultInstancePort`: "));
    assert!(with("5432", "0").starts_with("DefaultInstancePort: 0 is no port"));
    let nobody = with("\"PostgreSQLTopologyUser\": \"orchestrator\",", "");
    assert!(nobody.starts_with("PostgreSQLTopologyUser: it is missing"));
    for (more, field) in [
        ("\"listen\": \"0.0.0.0:7001\"", "listen: "),
        (
            "\"plain_http\": true, \"listen\": \"10.0.0.1:1\"",
            "plain_http: ",
        ),
        (
            "\"tls\": {\"ca\": \"/a\", \"certificate\": \"/b\", \"key\": \"/c\"}",
            "tls: ",
        ),
        (
            "\"postgresql\": {\"user\": \"u\"}",
            "PostgreSQLTopologyUser: ",
        ),
        (
            "\"postgresql\": {\"ssl_key\": \"/k\"}",
            "postgresql.ssl_cert: ",
        ),
        (
            "\"postgresql\": {\"password_file\": \"/p\"}",
            "PostgreSQLTopologyPassword: ",
        ),
        ("\"id\": 1", "`group` is missing"),
    ] {
        let why = with("{", &format!("{{{more},"));
        assert!(why.starts_with(field), "{why}");
    }
}

#[test]
fn those_names_stand_beside_ours_in_json_and_in_toml() {
    let names = ORCHESTRATORS.trim_start_matches('{');
    let group = r#"{"id": 1, "group": "00000000-0000-0000-0000-000000000001", "zone": "z1", "folder": "/tmp/peer",
        "listen": "127.0.0.1:7001", "postgresql": {"ssl_root_cert": "/ca", "database": "app"},
        "peers": {"1": "127.0.0.1:7001", "2": "127.0.0.1:7002", "3": "127.0.0.1:7003"},"#;
    let config = Config::parse(&format!("{group}{names}")).unwrap();
    assert!(!config.is_alone && config.peers.len() == 3 && config.warnings.is_empty());
    let login = config.postgresql.unwrap();
    assert_eq!((&*login.user, &*login.database), ("orchestrator", "app"));
    assert!(
        login
            .tls()
            .unwrap_err()
            .0
            .starts_with("postgresql: ssl_root_cert: ")
    );

    let toml = format!("{GOOD}ProviderType = \"postgresql\"\nPostgreSQLTopologyUser = \"u\"\n");
    assert_eq!(Config::parse(&toml).unwrap().postgresql.unwrap().user, "u");
    let table = "[postgresql]\nuser = \"u\"\npassword_file = \"/p\"\ndefault_port = 5433\nssl_mode = \"disable\"\n";
    let config = Config::parse(&format!("{GOOD}{table}")).unwrap();
    assert!(!config.holds_a_password());
    let login = config.postgresql.unwrap();
    assert_eq!(login.password, Password::File("/p".into()));
    assert_eq!(
        (login.default_port, login.ssl_mode),
        (5433, SslMode::Disable)
    );
    assert!(
        why(&format!("{GOOD}[postgresql]\npassword = \"secret\"\n"))
            .starts_with("postgresql.user: ")
    );
    assert!(
        why(&format!("{GOOD}[postgresql]\nssl_mode = \"x\"\n"))
            .starts_with("postgresql.ssl_mode: 'x' must be disable")
    );
}
