//! The data plane: what carries frames between the hosts.
//!
//! The switch can do everything to a frame. Where there is no TUN/TAP a bridge takes its place, with rules of nftables:
//! it cuts, loses and doubles, but holds no frame back. Whatever needs more is refused before anything changes.

use std::fmt;
use std::fs::OpenOptions;

use clap::ValueEnum;

use super::matrix::{Matrix, Quality};

const TUN: &str = "/dev/net/tun";
/// What a machine must have for either.
pub const NEEDED: &str = "/dev/net/tun (or nft and bridge instead)";

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plane {
    /// A process between TAP interfaces
    Switch,
    /// A bridge between veth pairs, with rules of nftables
    Bridge,
}

/// What the hosts ask of either.
pub(super) trait Carrier: fmt::Debug + Send + Sync {
    /// Makes the links like `matrix`; they are when this returns.
    ///
    /// # Errors
    /// They may be in part.
    fn set(&self, matrix: &Matrix) -> anyhow::Result<()>;
}

/// A data plane cannot do that to frames; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unable(String);

impl Plane {
    /// The best that this machine has; none if it lacks [`NEEDED`].
    pub fn found() -> Option<Plane> {
        if OpenOptions::new().read(true).write(true).open(TUN).is_ok() {
            return Some(Plane::Switch);
        }
        (is_installed("nft") && is_installed("bridge")).then_some(Plane::Bridge)
    }

    /// For the report: what this is, and what it cannot do.
    pub fn describe(self) -> &'static str {
        match self {
            Plane::Switch => "frames carried by a switch between TAP interfaces",
            Plane::Bridge => {
                "frames carried by a bridge with rules of nftables, the stand-in for a switch where /dev/net/tun cannot be opened: no slow or narrow links"
            }
        }
    }

    /// Whether it can make links like that.
    ///
    /// # Errors
    /// It cannot, and why.
    pub(super) fn can(self, matrix: &Matrix) -> Result<(), Unable> {
        let is_beyond = |quality: Quality| {
            let Quality {
                cut: _,
                delay_us,
                jitter_us,
                loss_ppm: _,
                duplicate_ppm: _,
                bandwidth,
            } = quality;
            delay_us > 0 || jitter_us > 0 || bandwidth.is_some()
        };
        match self {
            Plane::Bridge if matrix.links().any(|(_, quality)| is_beyond(quality)) => {
                let why = "a bridge holds no frame back: slow and narrow links need /dev/net/tun";
                Err(Unable(why.to_owned()))
            }
            Plane::Bridge | Plane::Switch => Ok(()),
        }
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    folders.any(|folder| folder.join(program).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_refuses_what_holds_frames_back() {
        let check = |quality: Quality, bridge_can: bool| {
            let matrix = Matrix::default().one_way(&["a"], &["b"], quality);
            assert!(Plane::Switch.can(&matrix).is_ok());
            assert_eq!(
                Plane::Bridge.can(&matrix).is_ok(),
                bridge_can,
                "{quality:?}"
            );
        };
        let lossy = Quality {
            loss_ppm: 1,
            duplicate_ppm: 1,
            ..Quality::default()
        };
        let slow = Quality {
            delay_us: 1,
            ..Quality::default()
        };
        let uneven = Quality {
            jitter_us: 1,
            ..Quality::default()
        };
        let narrow = Quality {
            bandwidth: Some(1),
            ..Quality::default()
        };
        check(Quality::CUT, true);
        check(lossy, true);
        check(slow, false);
        check(uneven, false);
        check(narrow, false);
        check(slow.and(Quality::CUT), false);
    }
}
