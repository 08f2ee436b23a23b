//! Replicated state machines.
#![forbid(unsafe_code)]
