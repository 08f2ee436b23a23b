//! Clusters without agents: adopted after a look at the plan, and forgotten.

use bytes::Bytes;
use hyper::Method;

use crate::http::adoptions::{AdoptionBody, PlaceBody};
use crate::http::views::{AdoptionView, ClusterView};
use crate::model::{ClusterName, FenceDemand};
use crate::output;

use super::api::Api;
use super::arguments::Adopt;
use super::database;
use super::question::confirmed;
use super::{Exit, Failure};

pub(super) async fn adopt(api: Api, asked: Adopt) -> Result<(), Failure> {
    let instances: Result<Vec<_>, Failure> = asked.instance.iter().map(|it| place(it)).collect();
    let mut body = AdoptionBody {
        address: place(&asked.host)?,
        instances: instances?,
        name: asked.name,
        fence: match asked.fence.as_str() {
            "required" => FenceDemand::Required,
            _ => FenceDemand::Courtesy,
        },
        dry_run: true,
        insist: asked.insist,
    };
    let plan: AdoptionView = api.post("/api/v1/adoptions", &body).await?;
    output::print(rendered(&plan))?;
    if asked.dry_run {
        return Ok(());
    }
    let question = match plan.hindrance {
        Some(_) => "Record it all the same?",
        None => "Record it?",
    };
    if !asked.yes && !confirmed(question)? {
        return Err(Failure::new(Exit::Refused, "nothing was recorded"));
    }
    body.dry_run = false;
    body.name = Some(plan.name);
    let done: AdoptionView = api.post("/api/v1/adoptions", &body).await?;
    Ok(output::line(format_args!(
        "{} is looked after over SQL; no database was changed",
        done.name
    ))?)
}

pub(super) async fn forget(api: Api, cluster: &str, yes: bool) -> Result<(), Failure> {
    let name = named(cluster)?;
    let path = format!("/api/v1/clusters/{name}");
    let is: ClusterView = api.get(&path).await?;
    output::print(forgotten(&is))?;
    // Of one with agents the peers say that it cannot be.
    let is_asked = !yes && is.fence != "agents";
    if is_asked && !confirmed("Forget it?")? {
        return Err(Failure::new(Exit::Refused, "nothing was changed"));
    }
    let was: ClusterView = api.change(Method::DELETE, &path, Bytes::new()).await?;
    Ok(output::line(format_args!(
        "{} is looked after no longer; no database was changed",
        was.name
    ))?)
}

fn place(text: &str) -> Result<PlaceBody, Failure> {
    let (host, port) = database::place(text)?;
    Ok(PlaceBody { host, port })
}

fn named(cluster: &str) -> Result<ClusterName, Failure> {
    ClusterName::new(cluster).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

fn rendered(plan: &AdoptionView) -> String {
    let mut text = format!(
        "{}   sys {}   {}   fence: {}\n",
        plan.name, plan.system_identifier, plan.durability, plan.fence
    );
    for instance in &plan.instances {
        let source = instance.source.as_ref();
        let source = source.map_or(String::new(), |it| format!(" of {it}"));
        let timeline = instance
            .timeline
            .map_or("?".to_owned(), |it| it.to_string());
        text += &format!(
            "  {}   {}   {}{source}   PostgreSQL {}   timeline {timeline}\n",
            instance.name, instance.address, instance.role, instance.version
        );
    }
    for unfound in &plan.unfound {
        text += &format!("WARN  {unfound}\n");
    }
    for lack in &plan.lacks {
        let word = if lack.needed { "NEED" } else { "HINT" };
        text += &format!(
            "{word}  {}: {}\n      {}\n",
            lack.address, lack.what, lack.mend
        );
    }
    text += &format!("NOTE  {}\n", plan.guarantee);
    if let Some(why) = &plan.hindrance {
        text += &format!("WARN  as it is now, nothing would be failed over: {why}\n");
    }
    text
}

/// Has a revoked standby follow again whom it followed before.
const FOLLOW_AGAIN: &str = "      SELECT format('ALTER SYSTEM SET primary_conninfo = %L', regexp_replace(setting, '(/|%2F)primacy-detached(/|%2F)', '')) FROM pg_settings \
     WHERE name = 'primary_conninfo' \\gexec\n\
     \x20     SELECT pg_reload_conf(), pg_wal_replay_resume();\n\
     \x20     -- It follows whom it followed before; for another one, write that one's host and port there.\n";
/// Has it apply what it has, and follow nobody.
const APPLY_AGAIN: &str = "      SELECT pg_wal_replay_resume();\n";
/// Has a primary that was asked to be quiet accept writes.
const WRITE_AGAIN: &str = "      ALTER SYSTEM RESET default_transaction_read_only;\n\
     \x20     SELECT pg_reload_conf();\n";
/// Has a primary forget whom it followed.
const FOLLOW_NOBODY: &str = "      ALTER SYSTEM RESET primary_conninfo;\n\
     \x20     SELECT pg_reload_conf();\n";
const FOLLOWED: &str = "primary_conninfo from when it followed another one, which leads nowhere now: no primary goes by it, and a standby \
     that is made of it would";
const REVOKED: &str = "receives nothing, and does not apply what it has";
const FOLLOWS_NOBODY_YET: &str =
    "whom it may follow is for you to say once there is one primary, and never the one before";
const REPLACED: &str =
    "runs as a primary that was replaced: stop it or rebuild it, and never let it write";

/// What Primacy has made of an instance and takes back no longer, and the commands that do.
fn left_behind(state: &str, is_primary: bool, phase: &str) -> Option<(String, &'static str)> {
    match (state, phase) {
        ("detached", "serving") => Some((REVOKED.to_owned(), FOLLOW_AGAIN)),
        ("detached", _) => Some((format!("{REVOKED}; {FOLLOWS_NOBODY_YET}"), APPLY_AGAIN)),
        ("read_only", _) if is_primary => Some((
            "refuses writes, through restarts too".to_owned(),
            WRITE_AGAIN,
        )),
        ("read_only", _) => Some((REPLACED.to_owned(), "")),
        _ => None,
    }
}

/// What may be left at an instance that shows nothing of itself now, each with the commands that mend it. `primary` is the
/// recorded one.
fn may_be_left(instance: &str, primary: Option<&str>, phase: &str, durability: &str) -> String {
    let mut text = "      SELECT pg_is_in_recovery();\n".to_owned();
    text += &match primary {
        Some(primary) if primary == instance => String::new(),
        Some(primary) => format!("      -- f: it {REPLACED}; {primary} is the primary.\n"),
        None => {
            "      -- f: whether it was replaced is for you to say, before anybody writes there.\n"
                .to_owned()
        }
    };
    text += "      SELECT name, setting FROM pg_settings WHERE name IN ('primary_conninfo', 'default_transaction_read_only', \
             'synchronous_standby_names');\n";
    text += &format!(
        "      -- f, and primary_conninfo has /primacy-detached/ in it: it has kept {FOLLOWED}.\n{FOLLOW_NOBODY}"
    );
    let (but, commands) = match phase {
        "serving" => (String::new(), FOLLOW_AGAIN),
        _ => (format!("; {FOLLOWS_NOBODY_YET}"), APPLY_AGAIN),
    };
    text += &format!(
        "      -- t, and primary_conninfo has /primacy-detached/ in it: it {REVOKED}{but}.\n{commands}"
    );
    text += &format!(
        "      -- default_transaction_read_only is on, and it was not replaced: it refuses writes, a standby once it is promoted.\n{WRITE_AGAIN}"
    );
    if durability != "async" {
        text += "      -- synchronous_standby_names names others than those that follow it, or shall: name these, as in\n\
                 \x20     ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (s1, s3)';\n\
                 \x20     SELECT pg_reload_conf();\n";
    }
    text
}

/// What is looked after no longer, and what goes with it.
fn forgotten(is: &ClusterView) -> String {
    let mut text = format!(
        "{}   sys {}   {}   epoch {}\n",
        is.name,
        is.system_identifier.as_deref().unwrap_or("?"),
        is.durability,
        is.epoch
    );
    for instance in &is.instances {
        let (host, port) = (&instance.host, instance.port);
        text += &format!("  {}   {host}:{port}   {}\n", instance.name, instance.state);
    }
    if is.phase != "serving" {
        text += &format!(
            "WARN  its primary is changing ({}): what has begun is not ended\n",
            is.phase
        );
    }
    for instance in &is.instances {
        let is_primary = is.primary.as_ref() == Some(&instance.name);
        let name = &instance.name;
        let psql = format!(
            "as superuser in psql -h {} -p {} -d postgres",
            instance.host, instance.port
        );
        let seen = left_behind(&instance.state, is_primary, &is.phase);
        match (seen, instance.connected) {
            (None, false) if is.fence != "agents" => {
                text += &format!(
                    "TODO  {name} is not seen now ({}), so something may be left there; once it answers, {psql}:\n{}",
                    instance.state,
                    may_be_left(name, is.primary.as_deref(), &is.phase, &is.durability)
                );
            }
            // Whoever was promoted was revoked before.
            (None, true) if is_primary && is.fence != "agents" && is.epoch > 1 => {
                text += &format!(
                    "HINT  {name} may have kept {FOLLOWED}; once it is forgotten, {psql}:\n{FOLLOW_NOBODY}"
                );
            }
            (None, _) => {}
            (Some((what, "")), _) => text += &format!("WARN  {name} {what}\n"),
            (Some((what, commands)), _) => {
                text += &format!("TODO  {name} {what}; once it is forgotten, {psql}:\n{commands}");
            }
        }
    }
    text + "NOTE  its history and what operators said of it go, too; no database is touched, and nobody fails it over any more\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOK: &str = include_str!("../../docs/without-agents.md");

    /// The commands that the book does not show.
    fn not_in_the_book(commands: &str) -> Vec<&str> {
        let commands = commands.lines().map(str::trim);
        let of_it = |it: &&str| it.starts_with("--") || BOOK.contains(it);
        commands.filter(|it| !of_it(it)).collect()
    }

    #[test]
    fn what_is_left_undone_comes_with_the_commands_of_the_book() {
        for state in ["detached", "read_only"] {
            for phase in ["serving", "revoking"] {
                let (_, commands) = left_behind(state, true, phase).unwrap();
                assert_eq!(not_in_the_book(commands), Vec::<&str>::new());
            }
        }
        assert_eq!(left_behind("streaming", false, "serving"), None);
        // Nobody is led back to a primary that is being replaced, nor has one that was replaced write again.
        let (_, commands) = left_behind("detached", false, "revoking").unwrap();
        assert!(!commands.contains("primary_conninfo"));
        let (what, commands) = left_behind("read_only", false, "serving").unwrap();
        assert!(what.contains("replaced") && commands.is_empty());
    }

    #[test]
    fn what_may_be_left_at_one_that_is_not_seen_comes_with_the_commands_of_the_book() {
        let set = "ALTER SYSTEM SET primary_conninfo";
        let names = "ALTER SYSTEM SET synchronous_standby_names";
        let replaced = "runs as a primary that was replaced";
        let check = |primary, phase, durability, expected: [(&str, bool); 3]| {
            let text = may_be_left("s2", primary, phase, durability);
            assert_eq!(not_in_the_book(&text), Vec::<&str>::new());
            assert!(
                text.contains(WRITE_AGAIN) && text.contains(FOLLOW_NOBODY),
                "{text}"
            );
            for (words, is_said) in expected {
                assert_eq!(text.contains(words), is_said, "{words}: {text}");
            }
        };
        let of = |follows, waits, is_other| [(set, follows), (names, waits), (replaced, is_other)];
        check(Some("p"), "serving", "quorum 1", of(true, true, true));
        check(Some("p"), "serving", "async", of(true, false, true));
        check(Some("s2"), "serving", "unclear", of(true, true, false));
        check(Some("s2"), "quieting", "async", of(false, false, false));
        check(None, "revoking", "quorum 1", of(false, true, false));
    }
}
