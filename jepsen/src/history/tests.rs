use super::*;

const TEXT: &str = r#"{:index 0, :type :invoke, :process 2, :f :txn, :value [[:append 3 1] [:r 3 nil]], :time 100}
{:index 1, :type :invoke, :process 3, :f :balances, :value nil, :time 110}
{:index 2, :type :ok, :process 3, :f :balances, :value {0 10, 1 -3}, :time 120, :answerer {:node "a", :timeline 4}, :session "kept"}
{:index 4, :type :ok, :process 2, :f :txn, :value [[:append 3 1] [:r 3 [1 2]]], :time 123}
{:index 5, :type :info, :process :nemesis, :f :fault, :value {:name "kill \"-9\"", :status "installed", :target "a"}, :time 124}
"#;

fn event(process: u64, phase: Phase, value: i64, time: u64) -> Event {
    Event {
        index: 0,
        phase,
        process: Process::Client(process),
        operation: Operation::Add(value),
        time: Moment(time),
        answerer: None,
        session: None,
        error: None,
    }
}

#[test]
fn edn_is_written_as_it_was_read() {
    let history = History::from_edn(TEXT).unwrap();
    assert_eq!(history.to_edn(), TEXT);
    let lines = history.to_json_lines();
    assert_eq!(History::from_json_lines(&lines).unwrap(), history);
    assert!(lines.starts_with(
        r#"{"index":0,"type":"invoke","process":2,"f":"txn","value":[["append",3,1],["r",3,null]],"time":100}"#
    ));
}

#[test]
fn what_jepsen_writes_is_read() {
    let text = r#"; a comment
[#jepsen.history.Op{:process 0 :type :invoke :f :add :value 5 :index 0}
 {:process 0, :type :ok, :f :add, :value 5, :index 1, :time 12}]"#;
    let history = History::from_edn(text).unwrap();
    assert_eq!(history.calls().unwrap().len(), 1);
}

#[test]
fn broken_text_is_refused_with_its_place() {
    for text in [
        "{:index 0",
        "{:index}",
        "]",
        "{:index 0 :type :ok}",
        "\n\"abc",
    ] {
        assert!(History::from_edn(text).is_err(), "{text}");
    }
    let Err(Malformed::Edn(EdnError::Syntax { line, .. })) = History::from_edn("{}\n\n ]") else {
        panic!("not refused");
    };
    assert_eq!(line, 3);
}

#[test]
fn merging_orders_by_time_and_ends_what_is_open() {
    let first = vec![event(0, Phase::Invoke, 1, 10), event(0, Phase::Ok, 1, 20)];
    let second = vec![event(1, Phase::Invoke, 2, 20), event(1, Phase::Info, 2, 25)];
    let third = vec![event(2, Phase::Invoke, 3, 5)];
    let history = History::merge([first, second, third]);
    let found: Vec<_> = history
        .events()
        .iter()
        .map(|event| (event.operation.clone(), event.phase))
        .collect();
    let add = Operation::Add;
    assert_eq!(
        found,
        [
            (add(3), Phase::Invoke),
            (add(1), Phase::Invoke),
            // Of the same moment: it may have been concurrent.
            (add(2), Phase::Invoke),
            (add(1), Phase::Ok),
            (add(2), Phase::Info),
            (add(3), Phase::Info),
        ]
    );
    let calls = history.calls().unwrap();
    assert_eq!(
        calls.iter().map(|call| call.outcome).collect::<Vec<_>>(),
        [Outcome::Unknown, Outcome::Ok, Outcome::Unknown]
    );
}

#[test]
fn a_process_does_one_thing_at_a_time_and_none_after_an_info() {
    let check = |events: Vec<Event>, is_sound: bool| {
        let mut events = events;
        for (index, event) in (0..).zip(&mut events) {
            event.index = index;
        }
        let calls = History::indexed(events).unwrap().calls();
        assert_eq!(calls.is_ok(), is_sound, "{calls:?}");
    };
    let invoke = |value| event(0, Phase::Invoke, value, 0);
    let end = |phase| event(0, phase, 1, 0);
    check(vec![invoke(1), end(Phase::Ok), invoke(2)], true);
    check(vec![invoke(1), invoke(2)], false);
    check(vec![invoke(1), end(Phase::Info), invoke(2)], false);
    check(vec![end(Phase::Ok)], false);
}

#[test]
fn a_recorder_gives_a_new_process_after_an_unknown_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(folder.path()).unwrap();
    let mut log = recorder.client("set").unwrap();
    let mut other = recorder.client("set").unwrap();
    other.invoke(Operation::Add(7)).unwrap().fail("no").unwrap();
    log.invoke(Operation::Add(1))
        .unwrap()
        .ok(Operation::Add(1))
        .unwrap();
    log.invoke(Operation::Add(2))
        .unwrap()
        .info("silence")
        .unwrap();
    drop(log.invoke(Operation::Add(3)).unwrap());
    log.invoke(Operation::Add(4)).unwrap().fail("no").unwrap();
    let setup = Operation::Setup(Setup::default());
    log.remark(Process::nemesis(), setup).unwrap();
    let calls = recorder.history().unwrap().calls().unwrap();
    let of_log: Vec<_> = calls
        .iter()
        .filter(|call| call.operation != Operation::Add(7))
        .map(|call| (call.process.clone(), call.outcome))
        .collect();
    assert_eq!(
        of_log,
        [
            (Process::Client(0), Outcome::Ok),
            (Process::Client(0), Outcome::Unknown),
            (Process::Client(2), Outcome::Unknown),
            (Process::Client(3), Outcome::Failed),
            (Process::nemesis(), Outcome::Unknown),
        ]
    );
    assert!(
        Recorder::create(folder.path()).is_err(),
        "a run overwrites another"
    );
}
