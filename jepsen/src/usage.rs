//! What a process uses, as the kernel counts it.

use std::fs;
use std::path::Path;

/// The process's own time and that of its ended children, from `/proc/PID/stat` (proc(5)).
pub fn times(stat: &str) -> Option<[u64; 2]> {
    // The name stands in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some([field(11)? + field(12)?, field(13)? + field(14)?])
}

/// A field of the memory of a process, in MB (10^6 bytes).
pub fn memory(proc: &Path, field: &str) -> Option<f64> {
    field_of(&proc.join("smaps_rollup"), field)
}

/// The most resident memory that a process ever had, in MB (10^6 bytes).
pub fn peak(proc: &Path) -> Option<f64> {
    field_of(&proc.join("status"), "VmHWM:")
}

fn field_of(file: &Path, field: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kib: u32 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(f64::from(kib) * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 30 4 20 0 1 0 5 6 7";
        assert_eq!(times(stat), Some([120, 34]));
    }
}
