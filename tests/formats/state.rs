//! The replicated state, as snapshots hold it.

use primacy::state::State;

use crate::log::entries;
use crate::{check, sealed};

#[test]
fn the_state_keeps_its_bytes() {
    let mut state = State::default();
    let mut lines = vec![("empty", sealed(&state))];
    // What is refused changes nothing, and is refused tomorrow as well.
    for (name, entry) in entries() {
        let before = state.clone();
        state.apply_entry(entry);
        if state != before {
            lines.push((name, sealed(&state)));
        }
    }
    check("state.txt", &lines);
}
