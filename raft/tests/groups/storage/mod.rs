//! What a peer keeps through power cuts and says of a damaged folder, seen from outside: a real process on a file
//! system of its own.
#![expect(
    clippy::print_stdout,
    reason = "a process under test reports on its output, and the figures are worth reading"
)]

mod bounds;
mod child;
mod damage;
mod disk;
mod power;
