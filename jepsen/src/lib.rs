//! What the fault suite is made of: histories, the checkers that judge them, and the workloads that
//! make them. The program `jepsen` runs it.
//!
//! Nothing here uses the product's library: what is tested is seen through SQL and HTTP alone.

pub mod checker;
pub mod clock;
pub mod expectations;
pub mod history;
pub mod http;
pub mod random;
pub mod session;
pub mod workload;
