//! What the disk itself takes.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, time::Duration};

use crate::{clock, load};

const WRITES: u64 = 500;
const BYTES: usize = 8 * 1024;

/// The median of writing 8 KiB and flushing them by fdatasync, in a file of that size.
pub fn fdatasync(folder: &Path) -> io::Result<Duration> {
    let file = File::create(folder.join("floor"))?;
    let block = vec![7; BYTES];
    file.write_all_at(&block, 0)?;
    file.sync_all()?;
    let mut spent = Vec::new();
    for _ in 0..WRITES {
        let begin = clock::now();
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        spent.push(begin.elapsed());
    }
    Ok(load::percentile(&mut spent, 50))
}
