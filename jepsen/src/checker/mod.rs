//! Judgements of a history: functions of values.

pub mod loss;
pub mod outage;
pub mod two_writers;
