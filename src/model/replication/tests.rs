use super::*;

#[test]
fn the_five_names_that_others_know() {
    let at = WalPosition {
        timeline: Timeline(2),
        lsn: Lsn(0x1_0000_00A0),
    };
    let status = ReplicationStatus {
        replica_running: true,
        sql_thread_running: true,
        io_thread_running: true,
        position: at.lsn.to_string(),
        lag: -1,
        received: Some(Position::Wal(at)),
        applied: None,
        receiver_silent_for_ms: Some(20),
        apply_paused: false,
        caught_up: Some(false),
    };
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(
        text,
        r#"{"ReplicaRunning":true,"SQLThreadRunning":true,"IOThreadRunning":true,"Position":"1/A0","Lag":-1,"received":{"wal":{"timeline":2,"lsn":4294967456}},"applied":null,"receiver_silent_for_ms":20,"apply_paused":false,"caught_up":false}"#
    );
    assert_eq!(
        serde_json::from_str::<ReplicationStatus>(&text).unwrap(),
        status
    );
}
