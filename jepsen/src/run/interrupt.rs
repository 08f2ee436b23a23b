//! The first signal to end stops a run after the round under way; the second takes the hosts down at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::hosts::leftovers;
use crate::net::owner::Owner;

/// Watches for signals from now on; the answer becomes true with the first one.
///
/// # Errors
/// The system has no thread left.
pub fn watch() -> anyhow::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before there is anything to take down.
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                for is_first in [true, false] {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    told.store(true, Ordering::SeqCst);
                    if is_first {
                        eprintln!("ending this round; once more to end at once");
                    }
                }
            });
            if let Err(error) = leftovers::remove(Owner::this()) {
                eprintln!("error: take the hosts down: {error:#}");
            }
            std::process::exit(130);
        })?;
    Ok(stop)
}
