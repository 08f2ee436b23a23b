//! What a program of the user's is told, by orchestrator's names.

use crate::model::{Address, ClusterName, Epoch, HookStage, InForce, Incident};

/// What is known when programs run.
pub(super) struct Facts {
    pub cluster: ClusterName,
    /// Where the primary was that failed.
    pub failed: Option<Address>,
    /// Where the other instances are.
    pub others: Vec<Address>,
    /// The new primary, or the one that shall be: its name, and where it answers.
    pub successor: Option<(String, Address)>,
    /// Whether it is the primary.
    pub is_successful: bool,
    pub epoch: Epoch,
    /// Where this peer is.
    pub here: String,
    /// What operators said.
    pub said: InForce,
    pub stage: HookStage,
    pub attempt: u32,
}

/// Each variable; one without a meaning here is empty.
pub(super) fn variables(facts: &Facts, incident: &Incident) -> Vec<(&'static str, String)> {
    let host = |it: &Option<Address>| it.as_ref().map_or(String::new(), |it| it.host.clone());
    let port = |it: &Option<Address>| it.as_ref().map_or(String::new(), |it| it.port.to_string());
    let successor = facts.successor.as_ref();
    let at = successor.map(|(_, at)| at.clone());
    let named = successor.map_or(String::new(), |(name, _)| name.clone());
    let others: Vec<String> = facts.others.iter().map(ToString::to_string).collect();
    let cluster = facts.cluster.to_string();
    let yes = |it: bool| it.to_string();
    let downtime = &facts.said.downtime;
    let failed = incident.failed.as_ref();
    let command = match incident.is_of_switchover() {
        true => "graceful-master-takeover",
        false => "",
    };
    let is_downtimed = failed.is_some_and(|it| downtime.contains_key(it));
    vec![
        ("ORC_FAILURE_TYPE", incident.code.clone()),
        ("ORC_INSTANCE_TYPE", "master".to_owned()),
        ("ORC_IS_MASTER", yes(true)),
        ("ORC_IS_CO_MASTER", yes(false)),
        ("ORC_FAILURE_DESCRIPTION", incident.text.clone()),
        ("ORC_COMMAND", command.to_owned()),
        ("ORC_FAILED_HOST", host(&facts.failed)),
        ("ORC_FAILED_PORT", port(&facts.failed)),
        ("ORC_FAILURE_CLUSTER", cluster.clone()),
        ("ORC_FAILURE_CLUSTER_ALIAS", cluster.clone()),
        ("ORC_FAILURE_CLUSTER_DOMAIN", String::new()),
        ("ORC_COUNT_REPLICAS", others.len().to_string()),
        ("ORC_REPLICA_HOSTS", others.join(",")),
        ("ORC_COUNT_LOST_REPLICAS", String::new()),
        ("ORC_LOST_REPLICAS", String::new()),
        ("ORC_IS_DOWNTIMED", yes(is_downtimed)),
        ("ORC_AUTO_MASTER_RECOVERY", yes(facts.said.paused.is_none())),
        (
            "ORC_AUTO_INTERMEDIATE_MASTER_RECOVERY",
            yes(facts.said.paused.is_none()),
        ),
        ("ORC_ORCHESTRATOR_HOST", facts.here.clone()),
        (
            "ORC_RECOVERY_UID",
            format!("{cluster}:{}", incident.began_at),
        ),
        ("ORC_IS_SUCCESSFUL", yes(facts.is_successful)),
        ("ORC_SUCCESSOR_HOST", host(&at)),
        ("ORC_SUCCESSOR_PORT", port(&at)),
        ("ORC_SUCCESSOR_ALIAS", named),
        ("ORC_SUCCESSOR_BINLOG_COORDINATES", String::new()),
        ("PRIMACY_EPOCH", facts.epoch.to_string()),
        ("PRIMACY_STAGE", facts.stage.to_string()),
        ("PRIMACY_ATTEMPT", facts.attempt.to_string()),
    ]
}

/// How the shell reads a place in a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoted {
    Not,
    Single,
    Double,
}

/// The same command with orchestrator's placeholders as variables of the shell, quoted as their place wants it: `{failedHost}`
/// becomes `"${ORC_FAILED_HOST}"`. So a value is never read as a part of the command, nor split, nor taken for a pattern.
pub(super) fn with_variables(command: &str, variables: &[(&'static str, String)]) -> String {
    let known = placeholders(variables);
    let mut text = String::with_capacity(command.len());
    let (mut rest, mut quoted) = (command, Quoted::Not);
    while let Some(next) = rest.chars().next() {
        let found = known.iter().find(|(it, _)| rest.starts_with(it.as_str()));
        if let Some((placeholder, name)) = found {
            text.push_str(&match quoted {
                Quoted::Not => format!("\"${{{name}}}\""),
                Quoted::Double => format!("${{{name}}}"),
                Quoted::Single => format!("'\"${{{name}}}\"'"),
            });
            rest = &rest[placeholder.len()..];
            continue;
        }
        text.push(next);
        rest = &rest[next.len_utf8()..];
        quoted = match (quoted, next) {
            (Quoted::Not, '\'') => Quoted::Single,
            (Quoted::Single, '\'') => Quoted::Not,
            (Quoted::Not, '"') => Quoted::Double,
            (Quoted::Double, '"') => Quoted::Not,
            (same, _) => same,
        };
        if next == '\\'
            && quoted != Quoted::Single
            && let Some(escaped) = rest.chars().next()
        {
            text.push(escaped);
            rest = &rest[escaped.len_utf8()..];
        }
    }
    text
}

/// Each placeholder and its variable; some have an old name besides.
fn placeholders(variables: &[(&'static str, String)]) -> Vec<(String, &'static str)> {
    let of_orchestrator = variables.iter().filter_map(|(name, _)| {
        let own = name.strip_prefix("ORC_")?;
        Some((format!("{{{}}}", camel(own)), *name))
    });
    let old = [
        ("slaveHosts", "ORC_REPLICA_HOSTS"),
        ("countSlaves", "ORC_COUNT_REPLICAS"),
        ("lostSlaves", "ORC_LOST_REPLICAS"),
        ("countLostSlaves", "ORC_COUNT_LOST_REPLICAS"),
        ("recoveryUID", "ORC_RECOVERY_UID"),
    ];
    let old = old.map(|(old, name)| (format!("{{{old}}}"), name));
    of_orchestrator.chain(old).collect()
}

/// `FAILED_HOST` as `failedHost`.
fn camel(name: &str) -> String {
    let mut words = name.split('_').map(str::to_ascii_lowercase);
    let first = words.next().unwrap_or_default();
    let others = words.map(|word| {
        let (head, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", head.to_ascii_uppercase())
    });
    first + &others.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_becomes_a_variable_and_no_value_a_command() {
        let variables = [
            ("ORC_FAILED_HOST", "; rm -rf /".to_owned()),
            ("ORC_REPLICA_HOSTS", String::new()),
            ("ORC_RECOVERY_UID", String::new()),
        ];
        for (command, expected) in [
            ("echo {failedHost}", r#"echo "${ORC_FAILED_HOST}""#),
            // As in orchestrator's manual.
            (
                "echo 'Detected {unknown} on {failedHost}' >> /tmp/log",
                r#"echo 'Detected {unknown} on '"${ORC_FAILED_HOST}"'' >> /tmp/log"#,
            ),
            (
                r#"x "a {failedHost}" 'b'"#,
                r#"x "a ${ORC_FAILED_HOST}" 'b'"#,
            ),
            (r#"x \' {failedHost}"#, r#"x \' "${ORC_FAILED_HOST}""#),
            (
                "x {slaveHosts} {replicaHosts}",
                r#"x "${ORC_REPLICA_HOSTS}" "${ORC_REPLICA_HOSTS}""#,
            ),
            ("x {recoveryUID}", r#"x "${ORC_RECOVERY_UID}""#),
            ("x {unknown} ${PATH}", "x {unknown} ${PATH}"),
        ] {
            assert_eq!(with_variables(command, &variables), expected);
        }
        assert_eq!(camel("FAILURE_CLUSTER_ALIAS"), "failureClusterAlias");
    }
}
