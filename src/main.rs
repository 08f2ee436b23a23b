//! The binary `primacy`.
#![forbid(unsafe_code)]
fn main() {}
