//! Does the disk of the primary take writes? Its agent's own write probe says so, whatever PostgreSQL still answers. Told
//! with the primary itself, and for nobody else: see [`super::failing_disk`].

use crate::model::{InstanceId, View};

use super::super::Finding;

/// The finding about the primary, if it runs and its disk fails.
pub(super) fn finding(primary: &InstanceId, view: &View) -> Option<Finding> {
    let trouble = view.disk_trouble(primary)?;
    trouble.is_failure().then(|| Finding::StalledPrimary {
        instance: primary.clone(),
        refusal: trouble.refusal.clone(),
    })
}
