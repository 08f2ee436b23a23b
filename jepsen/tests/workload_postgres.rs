//! The workloads against one real PostgreSQL: what they record is what happened.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

#[path = "support/server.rs"]
mod server;

use std::time::Duration;

use jepsen::checker::{self, Verdict};
use jepsen::clock;
use jepsen::history::{Call, Event, History, Log, Operation, Outcome, Phase, Process, Recorder};
use jepsen::history::{SessionAge, Setup};
use jepsen::session::{Session, Target};
use jepsen::workload::client::Habit;
use jepsen::workload::{Pace, Values, append, bank, fenceprobe, set};
use server::Server;
use tokio::sync::watch;
use tokio::time::sleep;

const RELOADED_WITHIN: Duration = Duration::from_secs(30);
const RECORDED_WITHIN: Duration = Duration::from_secs(30);

fn pace(stopped: &watch::Receiver<bool>, every_ms: u64) -> Pace {
    Pace {
        stopped: stopped.clone(),
        every: Duration::from_millis(every_ms),
    }
}

fn verdicts(history: &History) -> Vec<(&'static str, Verdict)> {
    checker::judge(history).unwrap()
}

fn acknowledged(calls: &[Call], what: impl Fn(&Operation) -> bool) -> usize {
    let ok = calls.iter().filter(|call| call.outcome == Outcome::Ok);
    ok.filter(|call| what(&call.operation)).count()
}

/// Where a test records.
fn recorder() -> (tempfile::TempDir, Recorder) {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(folder.path()).unwrap();
    (folder, recorder)
}

/// Waits until what is recorded so far is enough.
async fn until(what: &str, recorder: &Recorder, enough: impl Fn(&[Log]) -> bool) {
    let began = clock::now();
    while !enough(&recorder.logs().unwrap()) {
        assert!(clock::now().since(began) < RECORDED_WITHIN, "not {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// How many operations of a workload ended so, and are such.
fn ended(logs: &[Log], workload: &str, phase: Phase, what: impl Fn(&Operation) -> bool) -> usize {
    let logs = logs.iter().filter(|log| log.workload == workload);
    let events = logs.flat_map(|log| &log.events);
    events
        .filter(|it| it.phase == phase && what(&it.operation))
        .count()
}

/// Changes a setting of a server, for whoever connects from now on; answers with a session of its superuser.
async fn altered(target: &Target, setting: &str) -> Session {
    let admin = Session::open(target).await.unwrap();
    let alter = format!("ALTER SYSTEM SET {setting}");
    admin.client.batch_execute(&alter).await.unwrap();
    let reload = "SELECT pg_reload_conf()";
    admin.client.batch_execute(reload).await.unwrap();
    let (name, value) = setting.split_once(" = ").unwrap();
    let is_there = format!(
        "SELECT current_setting('{name}') = '{}'",
        value.trim_matches('\'')
    );
    let began = clock::now();
    loop {
        let fresh = Session::open(target).await.unwrap();
        let row = fresh.client.query_one(&is_there, &[]).await.unwrap();
        if row.get(0) {
            return admin;
        }
        assert!(clock::now().since(began) < RELOADED_WITHIN, "{setting}");
    }
}

/// Runs `work` on a current-thread runtime, as a client in a namespace does.
fn on_one_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work);
}

/// The name of a workload's log, and what it does there.
type Work = (&'static str, fn(&Operation) -> bool);

const WORK: [Work; 5] = [
    ("set", |it| matches!(it, Operation::Add(_))),
    ("append", |it| matches!(it, Operation::Transaction(_))),
    ("bank", |it| matches!(it, Operation::Transfer(_))),
    ("bank", |it| matches!(it, Operation::Balances(_))),
    ("probe", |it| matches!(it, Operation::Probe(_))),
];

#[test]
fn every_workload_is_valid_over_a_crash_of_a_sound_server() {
    let mut server = Server::start();
    let (_folder, recorder) = recorder();
    let targets = vec![server.target("a")];
    on_one_thread(async {
        set::prepare(&targets).await.unwrap();
        append::prepare(&targets).await.unwrap();
        bank::prepare(&targets).await.unwrap();
        fenceprobe::prepare(&targets).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let values = Values::default();
        let keys = append::Keys::new(4);
        let all = || (targets.clone(), values.clone());
        let lists = |seed| {
            let ((targets, values), keys) = (all(), keys.clone());
            let habit = Habit::of(usize::try_from(seed).unwrap());
            let pace = pace(&stopped, 10);
            append::run(targets, habit, (keys, values), seed, &recorder, pace)
        };
        let sets = |number| {
            let (targets, values) = all();
            set::run(
                targets,
                Habit::of(number),
                values,
                &recorder,
                pace(&stopped, 10),
            )
        };
        let banks = |seed| {
            let habit = Habit::of(usize::try_from(seed).unwrap());
            bank::run(targets.clone(), habit, seed, &recorder, pace(&stopped, 20))
        };
        let probes = |habit| {
            let target = targets[0].clone();
            fenceprobe::run(
                target,
                habit,
                values.clone(),
                &recorder,
                pace(&stopped, 100),
            )
        };
        let each_has = |phase: Phase, count: usize| {
            move |logs: &[Log]| {
                let has = |(workload, what): Work| ended(logs, workload, phase, what) >= count;
                WORK.into_iter().all(has)
            }
        };
        let faults = async {
            until("busy", &recorder, each_has(Phase::Ok, 20)).await;
            server.crash().await;
            let failed = |logs: &[Log]| {
                let of = |(workload, what)| ended(logs, workload, Phase::Fail, what);
                WORK.into_iter().map(of).sum::<usize>() > 5
            };
            until("noticed", &recorder, failed).await;
            server.run();
            until("busy again", &recorder, each_has(Phase::Ok, 60)).await;
            stop.send(true).unwrap();
        };
        let (one, two, three, four, five, six, seven, eight, nine, ()) = tokio::join!(
            lists(0),
            lists(1),
            lists(2),
            sets(0),
            sets(1),
            banks(0),
            banks(1),
            probes(Habit::Keep),
            probes(Habit::Fresh),
            faults
        );
        for result in [one, two, three, four, five, six, seven, eight, nine] {
            result.unwrap();
        }
        set::read(&targets, &recorder).await.unwrap();
        let used = (&keys, &values);
        append::read(&targets, used, &recorder).await.unwrap();
        bank::read(&targets, &recorder).await.unwrap();
    });
    let history = recorder.history().unwrap();
    let calls = history.calls().unwrap();
    for (name, verdict) in verdicts(&history) {
        assert_eq!(verdict, Verdict::Valid, "{name}: {verdict}");
    }
    let names: Vec<_> = verdicts(&history).into_iter().map(|it| it.0).collect();
    assert_eq!(names, ["set", "append", "bank", "epoch"]);
    let counts = WORK.map(|(_, what)| acknowledged(&calls, what));
    eprintln!("acknowledged: adds, transactions, transfers, balances, probes: {counts:?}");
    assert!(counts.iter().all(|count| *count >= 20), "{counts:?}");
    let seen = |outcome, age| {
        let mut calls = calls.iter();
        calls.any(|call| call.outcome == outcome && call.session == Some(age))
    };
    assert!(seen(Outcome::Ok, SessionAge::Kept) && seen(Outcome::Ok, SessionAge::Fresh));
    let failed = calls.iter().filter(|call| call.outcome == Outcome::Failed);
    assert!(failed.count() > 5, "nobody noticed the crash");
    for call in calls.iter().filter(|it| it.operation.is_write()) {
        if call.outcome == Outcome::Ok {
            let answerer = call.answerer.as_ref().unwrap();
            assert_eq!((answerer.node.as_str(), answerer.timeline), ("a", Some(1)));
        }
    }
    // The same history in EDN says the same.
    let again = History::from_edn(&history.to_edn()).unwrap();
    assert_eq!(again, history);
}

#[test]
fn a_row_that_is_lost_and_one_that_is_doubled_are_found() {
    let server = Server::start();
    let (_folder, recorder) = recorder();
    let targets = vec![server.target("a")];
    on_one_thread(async {
        set::prepare(&targets).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let client = set::run(
            targets.clone(),
            Habit::Keep,
            Values::default(),
            &recorder,
            pace(&stopped, 5),
        );
        let enough = async {
            let added = |logs: &[Log]| ended(logs, "set", Phase::Ok, |_| true) >= 10;
            until("added", &recorder, added).await;
            stop.send(true).unwrap();
        };
        tokio::join!(client, enough).0.unwrap();
        let admin = Session::open(&targets[0]).await.unwrap();
        let damage = "DELETE FROM jepsen_set WHERE value = 3; INSERT INTO jepsen_set VALUES (5)";
        admin.client.batch_execute(damage).await.unwrap();
        set::read(&targets, &recorder).await.unwrap();
    });
    let found = verdicts(&recorder.history().unwrap());
    let (name, verdict) = &found[0];
    assert_eq!(*name, "set");
    assert_eq!(verdict.anomalies(), ["doubled", "lost"], "{verdict}");
}

#[test]
fn two_primaries_are_found_by_all_who_can() {
    let (one, other) = (Server::start(), Server::start());
    let (_folder, recorder) = recorder();
    let targets = [one.target("a"), other.target("b")];
    on_one_thread(async {
        for target in targets.chunks(1) {
            set::prepare(target).await.unwrap();
            append::prepare(target).await.unwrap();
        }
        let (stop, stopped) = watch::channel(false);
        let (values, keys) = (Values::default(), append::Keys::new(3));
        let sets = |at: usize| {
            let targets = vec![targets[at].clone()];
            set::run(
                targets,
                Habit::Keep,
                values.clone(),
                &recorder,
                pace(&stopped, 10),
            )
        };
        let lists = |at: usize, seed| {
            let targets = vec![targets[at].clone()];
            let shared = (keys.clone(), values.clone());
            append::run(
                targets,
                Habit::Keep,
                shared,
                seed,
                &recorder,
                pace(&stopped, 10),
            )
        };
        // Each of the four was acknowledged often.
        let enough = async {
            let is_busy = |log: &Log| {
                let done = log.events.iter().filter(|it| it.phase == Phase::Ok);
                done.count() >= 50
            };
            let busy = |logs: &[Log]| logs.len() == 4 && logs.iter().all(is_busy);
            until("busy", &recorder, busy).await;
            stop.send(true).unwrap();
        };
        let (w, x, y, z, ()) = tokio::join!(sets(0), sets(1), lists(0, 1), lists(1, 2), enough);
        for result in [w, x, y, z] {
            result.unwrap();
        }
        set::read(&targets[..1], &recorder).await.unwrap();
        let used = (&keys, &values);
        append::read(&targets[..1], used, &recorder).await.unwrap();
    });
    let found = verdicts(&recorder.history().unwrap());
    let anomalies = |checker| {
        let (_, verdict) = found.iter().find(|(name, _)| *name == checker).unwrap();
        verdict.anomalies()
    };
    assert_eq!(anomalies("set"), ["lost"]);
    assert_eq!(anomalies("epoch"), ["two-primaries"]);
    assert!(anomalies("append").contains(&"incompatible-order"));
}

#[test]
fn what_nobody_confirmed_is_unknown() {
    let server = Server::start();
    let (_folder, recorder) = recorder();
    let targets = vec![server.target("a")];
    on_one_thread(async {
        set::prepare(&targets).await.unwrap();
        let admin = altered(&targets[0], "synchronous_standby_names = 'nobody'").await;
        let (stop, stopped) = watch::channel(false);
        let client = set::run(
            targets.clone(),
            Habit::Keep,
            Values::default(),
            &recorder,
            pace(&stopped, 10),
        );
        let cancel = async {
            let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            let began = clock::now();
            loop {
                let row = admin.client.query_one(cancel, &[]).await.unwrap();
                if row.get::<_, i64>(0) > 0 {
                    break;
                }
                assert!(clock::now().since(began) < RECORDED_WITHIN, "nobody waits");
            }
            // The next statement waits for more than its deadline.
            let unknown = |logs: &[Log]| ended(logs, "set", Phase::Info, |_| true) >= 2;
            until("unknown", &recorder, unknown).await;
            stop.send(true).unwrap();
        };
        tokio::join!(client, cancel).0.unwrap();
    });
    let history = recorder.history().unwrap();
    let unknown: Vec<&Event> = history
        .events()
        .iter()
        .filter(|event| event.phase == Phase::Info)
        .collect();
    let whys: Vec<_> = unknown.iter().map(|it| it.error.as_deref()).collect();
    assert!(
        whys.starts_with(&[Some("success with a warning"), Some("no answer in time")]),
        "{whys:?}"
    );
    assert_ne!(unknown[0].process, unknown[1].process);
    let setup = Process::nemesis();
    assert!(unknown.iter().all(|event| event.process != setup));
    assert_eq!(history.setup(), Setup::default());
}

#[test]
fn a_node_that_takes_no_writes_refuses_the_probe() {
    let server = Server::start();
    let (_folder, recorder) = recorder();
    let targets = vec![server.target("a")];
    on_one_thread(async {
        fenceprobe::prepare(&targets).await.unwrap();
        altered(&targets[0], "default_transaction_read_only = on").await;
        let (stop, stopped) = watch::channel(false);
        let target = targets[0].clone();
        let pace = pace(&stopped, 10);
        let prober = fenceprobe::run(target, Habit::Fresh, Values::default(), &recorder, pace);
        let enough = async {
            let refused = |logs: &[Log]| ended(logs, "probe", Phase::Fail, |_| true) > 2;
            until("refused", &recorder, refused).await;
            stop.send(true).unwrap();
        };
        tokio::join!(prober, enough).0.unwrap();
    });
    let calls = recorder.history().unwrap().calls().unwrap();
    assert!(calls.len() > 2);
    assert!(calls.iter().all(|call| call.outcome == Outcome::Failed));
}
