//! What is in WAL that was kept aside, told on the host where it lies.

use std::path::Path;

use serde::Serialize;

use crate::host::kept_wal::{self, segments_in};
use crate::host::salvage::{self, Rows, Salvaged};
use crate::host::{Error, data_folder};
use crate::model::{Lsn, Timeline, WalPosition};
use crate::output;

use super::arguments::{Output, Salvage};
use super::render::table;
use super::verbs::print_json;
use super::{Exit, Failure};

/// More commits than these are told with `--output json` alone.
const SHOWN: usize = 100;

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct SalvageView {
    /// Whose WAL it was; none if nothing was noted.
    instance: Option<String>,
    timeline: u32,
    from: String,
    /// Where it ended, `timeline:LSN`; none if that is not known.
    to: Option<String>,
    /// Bytes that were not kept.
    left_out: u64,
    relations: Vec<RelationView>,
    commits: Vec<CommitView>,
    /// Why not all could be read.
    complaints: Vec<String>,
}

/// Rows of one relation.
#[derive(Debug, Serialize)]
struct RelationView {
    /// `tablespace/database/file`, or `catalogs`.
    relation: String,
    inserted: u64,
    updated: u64,
    deleted: u64,
    /// Rows of transactions that were not committed in this WAL.
    not_committed: u64,
}

#[derive(Debug, Serialize)]
struct CommitView {
    at: String,
    xid: u32,
    lsn: String,
    /// Rows that it wrote, but those of catalogs.
    rows: u64,
}

pub(super) fn run(asked: &Salvage) -> Result<(), Failure> {
    let folder = asked.folder.as_path();
    let note = kept_wal::note(folder).map_err(|error| failed(&error))?;
    let inner = folder.join("pg_wal");
    let folder = if inner.is_dir() { &inner } else { folder };
    let noted = note
        .as_ref()
        .and_then(|it| Some((it.timeline, it.from.parse::<Lsn>().ok()?)));
    let given = asked.timeline.zip(asked.from);
    let Some((timeline, from)) = given.or(noted) else {
        return Err(unknown_start(folder));
    };
    let version = note
        .as_ref()
        .map(|it| it.version)
        .or_else(|| version_of(&asked.folder));
    let program = salvage::find(asked.binaries.as_deref(), version);
    let program = program.map_err(|error| failed(&error))?;
    let start = WalPosition {
        timeline: Timeline(timeline),
        lsn: from,
    };
    // The program is run elsewhere.
    let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let found = salvage::read(&program, &place, start).map_err(|error| failed(&error))?;
    let view = SalvageView {
        instance: note.as_ref().map(|it| it.instance.clone()),
        timeline,
        from: from.to_string(),
        to: note.as_ref().and_then(|it| it.to.clone()),
        left_out: note.as_ref().map_or(0, |it| it.left_out),
        relations: relations(&found),
        commits: found
            .commits
            .iter()
            .map(|it| CommitView {
                at: it.at.clone(),
                xid: it.xid,
                lsn: it.lsn.to_string(),
                rows: it.rows,
            })
            .collect(),
        complaints: found.complaints,
    };
    match asked.output {
        Output::Json => print_json(&view),
        Output::Table => Ok(show(&view)?),
    }
}

/// Of which version the data is whose WAL is read where it lies.
fn version_of(data: &Path) -> Option<u32> {
    match data_folder::inspect(data) {
        Ok(data_folder::Content::Cluster { version }) => version.parse().ok(),
        Ok(_) | Err(_) => None,
    }
}

fn relations(found: &Salvaged) -> Vec<RelationView> {
    let mut names: Vec<&String> = found.committed.keys().collect();
    names.extend(found.not_committed.keys());
    names.sort();
    names.dedup();
    let view = |name: &String| {
        let rows: Rows = found.committed.get(name).copied().unwrap_or_default();
        RelationView {
            relation: name.clone(),
            inserted: rows.inserted,
            updated: rows.updated,
            deleted: rows.deleted,
            not_committed: found.not_committed.get(name).map_or(0, Rows::all),
        }
    };
    names.into_iter().map(view).collect()
}

fn show(view: &SalvageView) -> std::io::Result<()> {
    let whose = view.instance.as_deref().unwrap_or("WAL");
    let to = view.to.as_deref().unwrap_or("its end");
    output::line(format_args!(
        "{whose}: from {}:{} to {to}",
        view.timeline, view.from
    ))?;
    let head = [
        "RELATION",
        "INSERTED",
        "UPDATED",
        "DELETED",
        "NOT COMMITTED",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(view.relations.iter().map(|it| {
        let counts = [it.inserted, it.updated, it.deleted, it.not_committed];
        let counts = counts.iter().map(u64::to_string);
        std::iter::once(it.relation.clone()).chain(counts).collect()
    }));
    output::print(table(&rows))?;
    let mut rows = vec![
        ["COMMITTED AT", "XID", "LSN", "ROWS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(view.commits.iter().take(SHOWN).map(|it| {
        vec![
            it.at.clone(),
            it.xid.to_string(),
            it.lsn.clone(),
            it.rows.to_string(),
        ]
    }));
    output::print(table(&rows))?;
    if let Some(more @ 1..) = view.commits.len().checked_sub(SHOWN) {
        output::line(format_args!("and {more} more: --output json"))?;
    }
    if view.left_out > 0 {
        output::say(format_args!(
            "warning: the last {} bytes were not kept",
            view.left_out
        ));
    }
    for complaint in &view.complaints {
        output::say(format_args!("warning: not all could be read: {complaint}"));
    }
    output::say(format_args!(
        "hint: a relation is tablespace/database/file; its name, in the database of that oid: \
         SELECT pg_filenode_relation(tablespace, file), with 0 for the tablespace 1663"
    ));
    Ok(())
}

fn unknown_start(folder: &Path) -> Failure {
    let segments = segments_in(folder).unwrap_or_default();
    let found = match segments.first() {
        None => "it holds no WAL".to_owned(),
        Some((timeline, _)) => format!("its first segment is of timeline {timeline}"),
    };
    Failure {
        exit: Exit::Usage,
        text: format!("{}: nothing says where to begin; {found}", folder.display()),
        hint: Some(
            "name the place where the primary's history left it, as `primacy history` has it: --timeline 2 --from 0/5000148"
                .to_owned(),
        ),
    }
}

fn failed(error: &Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    let (exit, hint) = match error {
        Error::NoBinaries { .. } => (
            Exit::Refused,
            Some("pg_waldump comes with PostgreSQL's server; name its folder with --binaries"),
        ),
        Error::File { .. } => (
            Exit::NotFound,
            Some("run it on the host of the instance, as root or as PostgreSQL's user"),
        ),
        _ => (Exit::Failed, None),
    };
    Failure {
        exit,
        text,
        hint: hint.map(str::to_owned),
    }
}
