//! One damage to an input, as a value that proptest can make smaller.

use proptest::prelude::*;
use proptest::sample::Index;

/// Numbers at which readers of lengths and counts go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    1 << 40,
    u64::MAX >> 1,
    u64::MAX,
];

/// One damage. Places are taken modulo the length of the input.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    /// Turns one bit over.
    Flip(Index, u8),
    /// Another byte.
    Set(Index, u8),
    /// Another number, of 1, 2, 4 or 8 bytes, in either order of bytes.
    Number {
        at: Index,
        width: u8,
        value: u64,
        is_big: bool,
    },
    /// A number that is a little more or less.
    Add { at: Index, width: u8, by: i8 },
    /// Nothing from there on.
    Truncate(Index),
    /// Bytes more.
    Insert(Index, Vec<u8>),
    /// Text more.
    Write(Index, Index),
    /// Bytes less.
    Remove(Index, u8),
    /// A part, over and over.
    Repeat { at: Index, length: u8, times: u16 },
    /// A part of another example in place of what is there.
    Splice {
        at: Index,
        from: Index,
        start: Index,
        length: u8,
    },
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => proptest::sample::select(&NUMBERS[..]),
        1 => any::<u64>(),
    ]
}

fn width() -> impl Strategy<Value = u8> {
    proptest::sample::select(&[1, 2, 4, 8, 8][..])
}

/// Mostly few: a part that stands there some ten thousand times is rare and slow.
fn times() -> impl Strategy<Value = u16> {
    prop_oneof![60 => 1..16u16, 3 => 16..1000u16, 1 => any::<u16>()]
}

/// Any damage.
pub(crate) fn any_mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        3 => (at(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        3 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        4 => (at(), width(), number(), any::<bool>()).prop_map(|(at, width, value, is_big)| {
            Mutation::Number { at, width, value, is_big }
        }),
        2 => (at(), width(), any::<i8>()).prop_map(|(at, width, by)| Mutation::Add { at, width, by }),
        1 => at().prop_map(Mutation::Truncate),
        2 => (at(), proptest::collection::vec(any::<u8>(), 1..24))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        3 => (at(), at()).prop_map(|(at, word)| Mutation::Write(at, word)),
        2 => (at(), any::<u8>()).prop_map(|(at, length)| Mutation::Remove(at, length)),
        2 => (at(), any::<u8>(), times())
            .prop_map(|(at, length, times)| Mutation::Repeat { at, length, times }),
        2 => (at(), at(), at(), any::<u8>()).prop_map(|(at, from, start, length)| {
            Mutation::Splice { at, from, start, length }
        }),
    ]
}

/// What a damage may take from.
pub(crate) struct Source<'a> {
    /// Valid inputs.
    pub(crate) examples: &'a [Vec<u8>],
    /// Words of the format.
    pub(crate) words: &'a [&'a [u8]],
    /// No input becomes longer than this.
    pub(crate) longest: usize,
}

impl Mutation {
    /// Damages `bytes`.
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>, source: &Source<'_>) {
        // The end is a place too: there something can be added.
        let place = |at: &Index| at.index(bytes.len() + 1);
        match self {
            Mutation::Flip(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Mutation::Set(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Mutation::Number {
                at,
                width,
                value,
                is_big,
            } => {
                let (at, width) = (place(at), usize::from(*width));
                put(bytes, at, width, *value, *is_big);
            }
            Mutation::Add { at, width, by } => {
                let (at, width) = (place(at), usize::from(*width));
                let old = get(bytes, at, width);
                put(
                    bytes,
                    at,
                    width,
                    old.wrapping_add_signed((*by).into()),
                    false,
                );
            }
            Mutation::Truncate(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Mutation::Insert(at, more) => {
                let at = place(at);
                bytes.splice(at..at, more.iter().copied());
            }
            Mutation::Write(at, word) if !source.words.is_empty() => {
                let (at, word) = (place(at), word.get(source.words));
                bytes.splice(at..at, word.iter().copied());
            }
            Mutation::Remove(at, length) => {
                let at = place(at);
                let end = bytes.len().min(at + usize::from(*length));
                bytes.drain(at..end);
            }
            Mutation::Repeat { at, length, times } => {
                let at = place(at);
                let end = bytes.len().min(at + usize::from(*length));
                let part = bytes[at..end].to_vec();
                let room = source.longest.saturating_sub(bytes.len());
                let fits = room.checked_div(part.len()).unwrap_or(0);
                let more = part.repeat(usize::from(*times).min(fits));
                bytes.splice(end..end, more);
            }
            Mutation::Splice {
                at,
                from,
                start,
                length,
            } => {
                let (at, other) = (place(at), from.get(source.examples));
                let start = start.index(other.len() + 1);
                let part = &other[start..other.len().min(start + usize::from(*length))];
                let end = bytes.len().min(at + part.len());
                bytes.splice(at..end, part.iter().copied());
            }
            Mutation::Flip(..) | Mutation::Set(..) | Mutation::Write(..) => {}
        }
        bytes.truncate(source.longest);
    }
}

fn get(bytes: &[u8], at: usize, width: usize) -> u64 {
    let there = bytes[at..].iter().take(width).rev();
    there.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Writes as much of the number as there is room for.
fn put(bytes: &mut [u8], at: usize, width: usize, value: u64, is_big: bool) {
    let mut digits = value.to_le_bytes()[..width].to_vec();
    if is_big {
        digits.reverse();
    }
    for (byte, digit) in bytes[at..].iter_mut().zip(digits) {
        *byte = digit;
    }
}
