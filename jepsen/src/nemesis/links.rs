//! Links that carry frames late, in disorder, twice or not at all.

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::net::matrix::{Matrix, Quality};

/// Every link of one host, in both directions.
#[derive(Debug)]
pub struct BadLinks {
    host: String,
    quality: Quality,
}

impl BadLinks {
    /// 30 to 50 ms each way.
    pub fn slow(host: String) -> BadLinks {
        let quality = Quality {
            delay_us: 30_000,
            jitter_us: 20_000,
            ..Quality::default()
        };
        BadLinks { host, quality }
    }

    /// 5 % lost and 1 % doubled each way.
    pub fn lossy(host: String) -> BadLinks {
        let quality = Quality {
            loss_ppm: 50_000,
            duplicate_ppm: 10_000,
            ..Quality::default()
        };
        BadLinks { host, quality }
    }

    fn name(&self) -> String {
        format!("links of {}: {:?}", self.host, self.quality)
    }
}

impl Injection for BadLinks {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let all = hosts.layout().faulty();
        let own = std::slice::from_ref(&self.host);
        let matrix = Matrix::default().both_ways(own, &all, self.quality);
        Ok(hosts.lay(&self.name(), matrix)?)
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        hosts.lift(&self.name())
    }
}
