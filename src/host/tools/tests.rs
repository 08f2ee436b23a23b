use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn progress_is_read() {
    let line = " 12345/67890 kB (18%), 0/1 tablespace (/data/base/1        )";
    assert_eq!(parse_progress(line), Some((12345, 67890)));
    assert_eq!(parse_progress("waiting for checkpoint"), None);
}

/// A `pg_basebackup` that is this script; `$target` is where it copies to.
fn programs(folder: &Path, script: &str) -> Binaries {
    let path = folder.join("pg_basebackup");
    let text = format!("#!/bin/sh\nwhile [ \"$1\" != -D ]; do shift; done; target=$2\n{script}\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Binaries {
        folder: folder.to_owned(),
        account: Account::own(),
        version: 15,
    }
}

const SHORT: Patience = Patience {
    without_a_byte: Duration::from_secs(2),
    otherwise: Duration::from_secs(60),
};

async fn clone(binaries: &Binaries, root: &Path, stamp: &str) -> Result<Cloned> {
    let source = Source {
        conninfo: "host=nowhere",
        passfile: None,
    };
    let (data, mark) = (root.join("data"), root.join("mark"));
    let folders = Folders {
        data: &data,
        stamp,
        mark: &mark,
    };
    clone_beside(binaries, source, folders, SHORT, |_| Ok(())).await
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|it| it.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_without_a_byte_is_given_up_and_removed_before_the_next() {
    let [root, bin] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let line = |done: u32| format!("echo '{done}/100 kB (0%), 0/1 tablespace' >&2");
    // It goes on for longer than it may be silent, and is silent then.
    let slow = (0..4)
        .map(|it| format!("{}; sleep 0.6", line(it)))
        .collect::<Vec<_>>()
        .join("\n");
    let script = format!(
        "echo 'waiting for checkpoint' >&2; sleep 2.2\necho half > $target/half\n{slow}\n{}\nsleep 600",
        line(3)
    );
    let failed = clone(&programs(bin.path(), &script), root.path(), "1").await;
    let Err(Error::Stalled { stderr, after, .. }) = &failed else {
        panic!("{failed:?}");
    };
    assert!(stderr.contains("3/100 kB"), "{stderr}");
    assert_eq!(*after, SHORT.without_a_byte);
    assert_eq!(names(root.path()), ["data.new", "mark"]);

    let script = format!("{}; echo whole > $target/whole", line(100));
    let cloned = clone(&programs(bin.path(), &script), root.path(), "2")
        .await
        .unwrap();
    assert_eq!((cloned.old_data, cloned.in_the_way), (None, None));
    assert_eq!(names(root.path()), ["data"]);
    assert_eq!(
        names(&root.path().join("data")),
        ["standby.signal", "whole"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_our_copy_is_kept() {
    let [root, bin] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let fresh = root.path().join("data.new");
    let binaries = programs(bin.path(), "exit 1");
    clone(&binaries, root.path(), "1").await.unwrap_err();
    // Somebody puts something else where the copy was.
    fs::rename(&fresh, root.path().join("elsewhere")).unwrap();
    fs::create_dir(&fresh).unwrap();
    fs::write(fresh.join("precious"), "x").unwrap();
    let binaries = programs(bin.path(), "echo whole > $target/whole");
    let cloned = clone(&binaries, root.path(), "2").await.unwrap();
    assert!(cloned.in_the_way.unwrap().join("precious").exists());
    assert_eq!(names(root.path()), ["data", "data.new.old-2", "elsewhere"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_does_not_fit_is_not_made_and_what_is_in_the_way_is_named() {
    let [root, bin] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let kept = root.path().join("data.old-20260414T093000250Z");
    fs::create_dir(&kept).unwrap();
    let script = "echo '7/999999999999999 kB (0%), 0/1 tablespace' >&2; sleep 600";
    let refused = clone(&programs(bin.path(), script), root.path(), "2").await;
    let refused = refused.unwrap_err().to_string();
    for words in [
        "1023999999999998976 bytes",
        "are free",
        kept.to_str().unwrap(),
    ] {
        assert!(refused.contains(words), "{refused}");
    }
    assert!(kept.exists());
}

#[test]
fn a_tablespace_whose_place_is_taken_gets_another_in_it() {
    let refused = |stderr: &str| Error::Program {
        program: "pg_basebackup".to_owned(),
        status: "exit status: 1".to_owned(),
        stderr: stderr.to_owned(),
    };
    let of = |stderr| Moved::of(&refused(stderr), Path::new("/d/data.new"), "7");
    let taken = of(
        "waiting for checkpoint\npg_basebackup: error: directory \"/a=b/c\" exists but is not empty",
    );
    let argument = taken.map(|it| it.argument());
    assert_eq!(
        argument.as_deref(),
        Some("--tablespace-mapping=/a\\=b/c=/a\\=b/c/primacy-7")
    );
    for other in [
        "error: directory \"/d/data.new\" exists but is not empty",
        "error: no",
    ] {
        assert!(of(other).is_none(), "{other}");
    }
}
