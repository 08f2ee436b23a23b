//! What can be typed to hold automation back, and to say who shall be promoted.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(in crate::cli) struct Hold {
    /// For how long: a number with s, m, h or d, at most 30d; it ends by itself
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Duration,
    /// Why; every screen shows it
    #[arg(long)]
    pub reason: String,
    /// Who says so
    #[arg(long, env = "USER", default_value = "somebody")]
    pub owner: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Explained {
    /// If the host of the primary died now
    Failover,
    /// If a switchover were asked for now
    Switchover,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Switchover {
    /// The cluster
    pub cluster: String,
    /// Who shall be the primary; whoever can be, if left out
    #[arg(long)]
    pub to: Option<String>,
    /// Why; the history keeps it
    #[arg(long)]
    pub reason: Option<String>,
    /// Who asks
    #[arg(long, env = "USER", default_value = "somebody")]
    pub owner: String,
    /// For how long it may wait for what stands in its way and may pass, such as a standby that is behind: a number with s, m
    /// or h, at most 1h; if left out it is refused at once
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Call off the one that waits, if the primary is not being shut down yet
    #[arg(long, conflicts_with_all = ["to", "reason", "wait"])]
    pub cancel: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Pause {
    /// Only this cluster; every cluster if left out
    pub cluster: Option<String>,
    #[command(flatten)]
    pub hold: Hold,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct BlockPeriod {
    /// For how long: a number with s, m, h or d, at most 30d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,
    /// Not at all, as at the beginning
    #[arg(long)]
    pub off: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum InstanceVerb {
    /// Begin no recovery of an instance by itself until it ends: neither replace it nor bring it back
    #[command(before_long_help = "Examples:
  primacy instance downtime orders a --for 2h --reason \"new disk\"")]
    Downtime {
        /// Its cluster
        cluster: String,
        /// Which
        instance: String,
        #[command(flatten)]
        hold: Hold,
    },
    /// End its downtime
    Uptime {
        /// Its cluster
        cluster: String,
        /// Which
        instance: String,
    },
    /// Whether it is promoted rather than another one that holds as much; no rule makes a failover lose more
    #[command(before_long_help = "Examples:
  primacy instance rule orders c must-not
  primacy instance rule orders b prefer --for 1h
  primacy instance rule orders b neutral            takes it back")]
    Rule {
        /// Its cluster
        cluster: String,
        /// Which
        instance: String,
        /// prefer, neutral, prefer-not or must-not
        #[arg(value_parser = ["prefer", "neutral", "prefer-not", "must-not"])]
        rule: String,
        /// For how long: a number with s, m, h or d, at most 30d; pinned if left out
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        length: Option<Duration>,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is not a number with s, m, h or d, as 90s or 2h");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let length = number.checked_mul(seconds).ok_or_else(wrong)?;
    Ok(Duration::from_secs(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_typed() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("2h", Some(7_200)),
            ("1d", Some(86_400)),
            ("2", None),
            ("", None),
            ("h", None),
            ("2 h", None),
            ("-2h", None),
            ("2ä", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(
                duration(text).ok(),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }
}
