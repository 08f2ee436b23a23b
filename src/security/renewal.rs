//! Certificates that change while a process runs: renewed before they end, and read anew when their files change. New
//! connections use what is there; those that stand go on.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::authority::BACKDATED;
use super::credentials::{Credentials, Files};
use super::tls::Tls;
use crate::clock;

/// How often the files are looked at: a few system calls.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often what is renewed from here is renewed at least: an agent is told then which authorities to trust, so that a
/// new one is known everywhere within this time (README).
const RENEW_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Before a renewal that failed is tried again: a third of a certificate's life is left by then.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How long a certificate has counted when it is so old.
const DAILY_AT: Duration = BACKDATED.saturating_add(RENEW_EVERY);
/// Before whoever distributes certificates by hand is reminded again.
const REMIND_AFTER: Duration = Duration::from_secs(3_600);

/// What keeps the credentials of one process.
pub trait Keeper: Send + Sync {
    /// The files in which they lie.
    fn files(&self) -> &Files;
    /// Reads them. Errors: in words.
    fn load(&self) -> Result<Credentials, String>;
    /// Has them renewed and written; not called for those that somebody else renews. Errors: in words.
    fn renew(&self) -> impl Future<Output = Result<(), String>> + Send;
    /// Whether they are renewed from here.
    fn renews(&self) -> bool;
}

/// Keeps what `tls` shows fresh, until dropped. SIGHUP has it renewed and the files read at once.
pub async fn keep(tls: &Tls, keeper: &impl Keeper) {
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut known = stamps(keeper.files());
    let mut renew_after = 0;
    loop {
        let asked = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let is_asked = tokio::select! {
            _ = asked => true,
            () = sleep(LOOK_EVERY) => false,
        };
        let now = clock::wall_millis();
        let ends = tls.credentials().own().map(|own| own.validity);
        let is_late = ends.is_some_and(|ends| now >= ends.renew_at());
        let is_old = ends.is_some_and(|ends| now >= ends.from + DAILY_AT.as_millis() as u64);
        let is_due = (is_late || is_old) && now >= renew_after;
        if (is_due || is_asked) && keeper.renews() {
            // Also one that turns out to be of no use is not asked for without a pause.
            renew_after = now + AGAIN_AFTER.as_millis() as u64;
            match keeper.renew().await {
                Ok(()) => tracing::info!("the certificate is renewed"),
                Err(why) => tracing::warn!(why, "the certificate is not renewed yet"),
            }
        } else if is_due {
            if is_late {
                tracing::warn!(
                    "two thirds of the certificate's life are over; put a new one in its place"
                );
            }
            renew_after = now + REMIND_AFTER.as_millis() as u64;
        }
        let seen = stamps(keeper.files());
        if seen == known && !is_asked {
            continue;
        }
        known = seen;
        match keeper.load() {
            Ok(credentials) => {
                tls.replace(credentials);
                tracing::info!("the certificate was read anew");
            }
            // The old one goes on; half of the new ones may be written.
            Err(why) => tracing::error!(why, "the new certificate is not used"),
        }
    }
}

/// When each file was changed last.
fn stamps(files: &Files) -> [Option<SystemTime>; 3] {
    let of = |path: &Path| std::fs::metadata(path).and_then(|it| it.modified()).ok();
    [&files.certificate, &files.key, &files.authorities].map(|path| of(path))
}
