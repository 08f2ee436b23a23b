//! Primacy keeps exactly one primary in every database cluster it looks after.
#![forbid(unsafe_code)]
pub mod model;
