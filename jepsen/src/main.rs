//! Black-box faults and measurements.
fn main() {}
