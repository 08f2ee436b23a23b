//! One decoder under test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use rustix::time::{ClockId, clock_gettime};

use crate::input::any_input;
use crate::limits::{self, Keeper, Limit};
use crate::mutation::Source;

/// Inputs of each target in an ordinary test run.
pub const CASES: u32 = 2_000;
/// The most processor time that one input may take. The largest take a tenth of it on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How many smaller inputs are tried after a failure.
const SMALLER: u32 = 4_000;
/// Longer inputs say nothing new and take long. What is longer is tried with [`Target::large`] ones.
const LONGEST: usize = 256 * 1024;
/// Makes one run differ from the next only where it is asked to.
const SEED: u64 = 1;
/// So many bytes of an input that fails are shown.
const SHOWN: usize = 4 * 1024;

/// Makes damaged bytes whole again, so far as a checksum goes.
type Seal = Box<dyn Fn(&mut Vec<u8>)>;

/// A decoder with what is known of its input.
pub struct Target {
    limit: &'static Limit,
    examples: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    found: Vec<Vec<u8>>,
    words: Vec<&'static [u8]>,
    seal: Seal,
}

/// The target of this name in [`LIMITS`](crate::LIMITS).
///
/// # Panics
/// If it is not there.
pub fn target(name: &str) -> Target {
    Target {
        limit: limits::of(name),
        examples: vec![],
        large: vec![],
        found: vec![],
        words: vec![],
        seal: Box::new(|_| {}),
    }
}

impl Target {
    /// A valid input, envelope included.
    pub fn example(mut self, bytes: impl Into<Vec<u8>>) -> Target {
        self.examples.push(bytes.into());
        self
    }

    /// An input that is tried as it is and is too large to be damaged many times.
    pub fn large(mut self, bytes: impl Into<Vec<u8>>) -> Target {
        self.large.push(bytes.into());
        self
    }

    /// An input that was found to do harm once.
    pub fn found(mut self, bytes: impl Into<Vec<u8>>) -> Target {
        self.found.push(bytes.into());
        self
    }

    /// Words that mean something to the decoder.
    pub fn words(mut self, words: &[&'static str]) -> Target {
        self.words.extend(words.iter().map(|word| word.as_bytes()));
        self
    }

    /// How an envelope is made to fit damaged content.
    pub fn sealed(mut self, seal: impl Fn(&mut Vec<u8>) + 'static) -> Target {
        self.seal = Box::new(seal);
        self
    }

    /// The envelope is a version byte and a checksum in four bytes, little-endian or as `in_order` puts them.
    pub fn sealed_record(self, in_order: fn(u32) -> [u8; 4]) -> Target {
        let version = self
            .examples
            .first()
            .and_then(|bytes| bytes.first())
            .copied();
        self.sealed(move |bytes| {
            let head = bytes.len().min(5);
            let body = bytes.split_off(head);
            bytes.clear();
            bytes.push(version.unwrap_or(1));
            bytes.extend(in_order(crc32c::crc32c(&body)));
            bytes.extend(body);
        })
    }

    /// Runs it. `decode` gives none for what it refuses; `check` panics over a value that is not as it should be.
    ///
    /// # Panics
    /// With the smallest input that breaks a rule.
    pub fn run<T>(self, decode: impl Fn(&[u8]) -> Option<T>, check: impl Fn(T)) {
        let mut run = Run {
            limit: self.limit,
            decode,
            check,
            executions: 0,
            accepted: 0,
            most: (0, 0),
        };
        for example in &self.examples {
            match run.judge(example) {
                Ok(true) => {}
                Ok(false) => panic!(
                    "{}: an example is refused: {}",
                    self.limit.name,
                    shown(example)
                ),
                Err(why) => panic!("{}: an example: {why}", self.limit.name),
            }
        }
        for input in self.large.iter().chain(&self.found) {
            if let Err(why) = run.judge(input) {
                panic!("{}: {why}: {}", self.limit.name, shown(input));
            }
        }
        let refused = self.limit.kept_by == Keeper::Itself;
        for example in self.examples.iter().filter(|_| refused) {
            let mut long = example.clone();
            long.resize(self.limit.input + 1, b' ');
            (self.seal)(&mut long);
            match run.judge(&long) {
                Ok(false) => {}
                Ok(true) => panic!("{}: what is too long is accepted", self.limit.name),
                Err(why) => panic!("{}: what is too long: {why}", self.limit.name),
            }
        }
        match std::env::var("FUZZ_SECONDS").ok() {
            None => self.batch(&mut run, RngSeed::Fixed(SEED)),
            Some(seconds) => {
                let seconds = seconds.parse().expect("FUZZ_SECONDS is a number");
                let until = now(ClockId::Monotonic) + Duration::from_secs(seconds);
                while now(ClockId::Monotonic) < until {
                    self.batch(&mut run, RngSeed::Random);
                }
            }
        }
        run.report();
    }

    fn batch<T>(&self, run: &mut Run<impl Fn(&[u8]) -> Option<T>, impl Fn(T)>, seed: RngSeed) {
        let config = Config {
            cases: CASES,
            max_shrink_iters: SMALLER,
            failure_persistence: None,
            rng_seed: seed,
            ..Config::default()
        };
        let source = Source {
            examples: &self.examples,
            words: &self.words,
            longest: LONGEST.min(self.limit.input + 64),
        };
        let cell = std::cell::RefCell::new(run);
        let result = TestRunner::new(config).run(&any_input(), |input| {
            let bytes = input.bytes(&source, &self.seal);
            let judged = cell.borrow_mut().judge(&bytes);
            judged.map(drop).map_err(TestCaseError::fail)
        });
        match result {
            Ok(()) => {}
            Err(TestError::Abort(why)) => panic!("{}: {why}", self.limit.name),
            Err(TestError::Fail(why, input)) => {
                let bytes = input.bytes(&source, &self.seal);
                panic!("{}: {why}: {}", self.limit.name, shown(&bytes));
            }
        }
    }
}

struct Run<D, C> {
    limit: &'static Limit,
    decode: D,
    check: C,
    executions: u64,
    accepted: u64,
    /// The most bytes that were allocated, and for how many.
    most: (usize, usize),
}

impl<T, D: Fn(&[u8]) -> Option<T>, C: Fn(T)> Run<D, C> {
    /// Whether an input is accepted. Errors: the rule that is broken.
    fn judge(&mut self, bytes: &[u8]) -> Result<bool, String> {
        self.executions += 1;
        let mut decoded = None;
        let before = now(ClockId::ThreadCPUTime);
        let counted = allocation_counter::measure(|| {
            decoded = Some(catch_unwind(AssertUnwindSafe(|| (self.decode)(bytes))));
        });
        let took = now(ClockId::ThreadCPUTime).saturating_sub(before);
        let peak = usize::try_from(counted.bytes_max).unwrap_or(usize::MAX);
        let value = decoded.expect("it was just set").map_err(words)?;
        if took > PATIENCE {
            return Err(format!("{} bytes took {took:?}", bytes.len()));
        }
        let most = self.limit.most(bytes.len());
        if peak > most {
            let length = bytes.len();
            return Err(format!(
                "{length} bytes made it allocate {peak}, and {most} is the most"
            ));
        }
        if peak > self.most.0 {
            self.most = (peak, bytes.len());
        }
        let Some(value) = value else {
            return Ok(false);
        };
        self.accepted += 1;
        let checked = catch_unwind(AssertUnwindSafe(|| (self.check)(value)));
        checked.map_err(words).map(|()| true)
    }

    fn report(&self) {
        let (peak, length) = self.most;
        eprintln!(
            "fuzz {}: {} executions, {} accepted, at most {peak} bytes allocated (for {length})",
            self.limit.name, self.executions, self.accepted
        );
    }
}

/// What a panic said.
fn words(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panics: {}", text.unwrap_or("without words"))
}

fn shown(bytes: &[u8]) -> String {
    let hex = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}"));
    let (hex, length) = (hex.collect::<String>(), bytes.len());
    let text = String::from_utf8_lossy(&bytes[..length.min(SHOWN / 4)]);
    format!("{length} bytes {hex} {text:?}")
}

fn now(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "leash: request";

    fn run<T>(decode: impl Fn(&[u8]) -> Option<T>) {
        target(NAME).example("state").run(decode, drop);
    }

    #[test]
    fn a_good_decoder_passes() {
        run(|bytes| std::str::from_utf8(bytes).ok().map(str::to_owned));
    }

    #[test]
    #[should_panic(expected = "made it allocate 1048576")]
    fn one_that_believes_a_length_is_caught() {
        run(|bytes| {
            let claims_much = bytes.iter().any(|byte| *byte >= 0x80);
            Some(vec![0u8; if claims_much { 1 << 20 } else { bytes.len() }])
        });
    }

    #[test]
    #[should_panic(expected = "it panics")]
    fn one_that_panics_is_caught() {
        run(|bytes| Some(bytes[0]));
    }

    #[test]
    #[should_panic(expected = "an example is refused")]
    fn an_example_that_is_none_is_caught() {
        run(|_| None::<()>);
    }

    #[test]
    fn a_checksum_gets_damage_past_an_envelope() {
        let seen = std::cell::Cell::new(0);
        let record = |body: &[u8]| [&[1][..], &crc32c::crc32c(body).to_le_bytes(), body].concat();
        target(NAME)
            .example(record(b"body"))
            .sealed_record(u32::to_le_bytes)
            .run(
                |bytes| {
                    let (head, body) = bytes.split_at_checked(5)?;
                    let fits = head[1..] == crc32c::crc32c(body).to_le_bytes();
                    fits.then(|| body != b"body")
                },
                |is_damaged| seen.set(seen.get() + u32::from(is_damaged)),
            );
        assert!(seen.get() > CASES / 4, "{} of {CASES}", seen.get());
    }
}
