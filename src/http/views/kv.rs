//! What is published, in Consul's form.

use serde::{Deserialize, Serialize};

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyView {
    /// The key.
    pub key: String,
    /// The value, in base64.
    pub value: String,
    /// 0.
    pub flags: u64,
    /// 0: nobody locks it.
    pub lock_index: u64,
    /// As `ModifyIndex`.
    pub create_index: u64,
    /// The epoch of the primary.
    pub modify_index: u64,
}
