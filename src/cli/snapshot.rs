//! The recorded state in a file: taken from a stopped peer's folder, and checked.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use raft::{Saved, SavedError, StartError};
use serde::Serialize;

use crate::output;
use crate::server::restore::{BegunAnew, RestoreError, begin_anew};
use crate::server::{Config, Machine};

use super::arguments::{Output, SnapshotVerb};
use super::owner::must_own;
use super::verbs::print_json;
use super::{Exit, Failure, daemons};

pub(super) async fn run(verb: SnapshotVerb, output: Output) -> Result<(), Failure> {
    match verb {
        SnapshotVerb::Save { file, folder } => {
            must_own(&folder)?;
            let saved = raft::save(&folder, Machine::default(), &file).await;
            let saved = saved.map_err(|error| failed(&folder, &file, &error))?;
            if output == Output::Table {
                output::line(format_args!("saved into {}", file.display()))?;
            }
            show(&saved, output)
        }
        // `force_new_cluster` is the absence of a file.
        SnapshotVerb::Restore { file, config, .. } => {
            restore(file.as_deref(), &config, output).await
        }
        SnapshotVerb::Verify { file } => {
            let saved = raft::read_saved(&file);
            show(
                &saved.map_err(|error| failed(&file, &file, &error))?,
                output,
            )
        }
    }
}

async fn restore(file: Option<&Path>, path: &Path, output: Output) -> Result<(), Failure> {
    let text = daemons::configuration(path, "a peer's")?;
    let config = Config::parse(&text).map_err(|error| daemons::refused(path, error))?;
    let folder = config.folder.clone();
    must_own(&folder)?;
    let begun = begin_anew(config, file).await;
    let begun = begun.map_err(|error| match error {
        RestoreError::Config(error) => daemons::refused(path, error),
        RestoreError::Saved(error) => failed(&folder, file.unwrap_or(&folder), &error),
    })?;
    if output == Output::Json {
        return print_json(&RestoredView::of(&begun));
    }
    show(&begun.saved, output)?;
    for cluster in &begun.left_out {
        output::line(format_args!(
            "cluster {cluster} is left out: its first data was still being created; before it is created again, move the \
             folders and the data of its agents away"
        ))?;
    }
    for (cluster, counted, needed) in &begun.stuck {
        output::line(format_args!(
            "warning: cluster {cluster} elects no primary: {counted} of its instances count as far as this peer knew, and \
             {needed} must; begin with what another peer knew if that is newer"
        ))?;
    }
    if let Some(before) = &begun.before {
        output::line(format_args!(
            "the files of before are in {}",
            before.display()
        ))?;
    }
    output::line(format_args!(
        "the group begins anew with peer {} alone; start it: primacy server --config {}",
        begun.saved.peer,
        path.display()
    ))?;
    Ok(())
}

/// What is in a saved file, or was begun anew with.
#[derive(Debug, Serialize)]
struct SavedView {
    /// Who saved it.
    peer: u64,
    group: String,
    /// The last entry that is in it; none if there was none yet.
    index: Option<u64>,
    /// The term of that entry.
    term: Option<u64>,
    /// The members as of that entry, id to `host:port`.
    members: BTreeMap<u64, String>,
    clusters: Vec<SavedCluster>,
}

#[derive(Debug, Serialize)]
struct SavedCluster {
    name: String,
    epoch: u64,
    /// None while one was being elected.
    primary: Option<String>,
}

impl SavedView {
    fn of(saved: &Saved<Machine>) -> SavedView {
        let clusters = saved.state.clusters.iter();
        SavedView {
            peer: saved.peer,
            group: saved.group.to_string(),
            index: saved.applied.map(|(index, _)| index),
            term: saved.applied.map(|(_, term)| term),
            members: saved.members.clone(),
            clusters: clusters
                .map(|(name, recorded)| SavedCluster {
                    name: name.to_string(),
                    epoch: recorded.cluster.epoch.0,
                    primary: recorded.cluster.primary.as_ref().map(ToString::to_string),
                })
                .collect(),
        }
    }
}

/// What a group began anew with.
#[derive(Debug, Serialize)]
struct RestoredView {
    #[serde(flatten)]
    saved: SavedView,
    /// Clusters whose first data was still being created.
    left_out: Vec<String>,
    /// Clusters that elect no primary: too few of their instances count.
    stuck: Vec<String>,
    /// Where the files of before are; none if there were none.
    before: Option<PathBuf>,
}

impl RestoredView {
    fn of(begun: &BegunAnew) -> RestoredView {
        RestoredView {
            saved: SavedView::of(&begun.saved),
            left_out: begun.left_out.iter().map(ToString::to_string).collect(),
            stuck: begun.stuck.iter().map(|it| it.0.to_string()).collect(),
            before: begun.before.clone(),
        }
    }
}

fn show(saved: &Saved<Machine>, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print_json(&SavedView::of(saved));
    }
    let known = saved
        .applied
        .map_or("nothing yet".to_owned(), |(index, term)| {
            format!("all up to entry {index}, which is of term {term}")
        });
    output::line(format_args!(
        "peer {} of group {} knew {known}",
        saved.peer, saved.group
    ))?;
    for (id, address) in &saved.members {
        output::line(format_args!("peer {id} at {address}"))?;
    }
    for (name, recorded) in &saved.state.clusters {
        let cluster = &recorded.cluster;
        let primary = cluster
            .primary
            .as_ref()
            .map_or("no primary".to_owned(), |primary| {
                format!("primary {primary}")
            });
        output::line(format_args!(
            "cluster {name}: epoch {}, {primary}",
            cluster.epoch
        ))?;
    }
    Ok(())
}

fn failed(folder: &Path, file: &Path, error: &SavedError) -> Failure {
    let mut text = match error {
        SavedError::Folder(_) | SavedError::Occupied | SavedError::Write(_) => {
            format!("{}: {error}", folder.display())
        }
        SavedError::OtherGroup { .. }
        | SavedError::NoMember { .. }
        | SavedError::File(_)
        | SavedError::Damaged(_)
        | SavedError::State(_) => {
            format!("{}: {error}", file.display())
        }
    };
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    let (exit, hint) = match error {
        SavedError::Folder(StartError::InUse) => (
            Exit::Conflict,
            Some("stop this peer; the others go on without it meanwhile"),
        ),
        SavedError::Folder(StartError::Identity(cause))
            if cause.kind() == io::ErrorKind::NotFound =>
        {
            (
                Exit::NotFound,
                Some("give the `folder` of the peer's configuration with --folder"),
            )
        }
        SavedError::Occupied => (
            Exit::Conflict,
            Some("choose an empty folder; or begin with what this one knows: --force-new-cluster"),
        ),
        SavedError::File(cause) if cause.kind() == io::ErrorKind::AlreadyExists => (
            Exit::Conflict,
            Some("choose another file; a saved state is never overwritten"),
        ),
        SavedError::File(cause) if cause.kind() == io::ErrorKind::NotFound => {
            (Exit::NotFound, None)
        }
        SavedError::OtherGroup { .. } => (
            Exit::Refused,
            Some("give the configuration of a peer of that group"),
        ),
        SavedError::NoMember { .. } => (
            Exit::Refused,
            Some(
                "begin anew from what one of its members knows, with the configuration of that member",
            ),
        ),
        SavedError::Folder(StartError::Unfinished) => (
            Exit::Conflict,
            Some(
                "finish it: primacy peers snapshot restore FILE; what was saved of the folder is the newest before-…/saved in it",
            ),
        ),
        SavedError::Folder(_) | SavedError::File(_) | SavedError::Write(_) => (Exit::Failed, None),
        SavedError::Damaged(_) | SavedError::State(_) => (Exit::Refused, None),
    };
    Failure {
        exit,
        text,
        hint: hint.map(str::to_owned),
    }
}
