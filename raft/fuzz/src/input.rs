//! One input: an example with its damages, or bytes out of nowhere.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::mutation::{Mutation, Source, any_mutation};

/// How an input comes about.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// An example, damaged within its envelope, which is then made to fit, and then perhaps from outside.
    Damaged {
        example: Index,
        within: Vec<Mutation>,
        outside: Vec<Mutation>,
    },
    /// Bytes in an envelope that fits.
    Sealed(Vec<u8>),
    /// Bytes.
    Plain(Vec<u8>),
}

/// Any input.
pub(crate) fn any_input() -> impl Strategy<Value = Input> {
    let damaged = |outside| {
        (any::<Index>(), vec(any_mutation(), 0..6), outside).prop_map(
            |(example, within, outside)| Input::Damaged {
                example,
                within,
                outside,
            },
        )
    };
    prop_oneof![
        12 => damaged(vec(any_mutation(), 0..1)),
        2 => damaged(vec(any_mutation(), 1..4)),
        2 => vec(any::<u8>(), 0..300).prop_map(Input::Sealed),
        1 => vec(any::<u8>(), 0..300).prop_map(Input::Plain),
    ]
}

impl Input {
    /// Its bytes. `seal` makes an envelope fit, if there is one.
    pub(crate) fn bytes(&self, source: &Source<'_>, seal: &dyn Fn(&mut Vec<u8>)) -> Vec<u8> {
        match self {
            Input::Damaged {
                example,
                within,
                outside,
            } => {
                let mut bytes = example.get(source.examples).clone();
                for mutation in within {
                    mutation.apply(&mut bytes, source);
                }
                seal(&mut bytes);
                for mutation in outside {
                    mutation.apply(&mut bytes, source);
                }
                bytes
            }
            Input::Sealed(bytes) => {
                let mut bytes = bytes.clone();
                seal(&mut bytes);
                bytes
            }
            Input::Plain(bytes) => bytes.clone(),
        }
    }
}
