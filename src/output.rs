//! What a verb prints: data on stdout, messages on stderr.
//!
//! A reader that went away, as in `primacy status | head -1`, has seen enough: that is no error and never a
//! panic, which is what `println!` makes of it. Data that cannot be written for another reason, such as a full
//! disk, is an error: whoever reads it later must not take a part for the whole.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Writes `text` to stdout as it is. Errors: those of stdout, but for a reader that went away.
pub fn print(text: impl Display) -> io::Result<()> {
    written(&mut io::stdout().lock(), &text)
}

/// Writes `text` and the end of the line to stdout. Errors: as of [`print`].
pub fn line(text: impl Display) -> io::Result<()> {
    print(format_args!("{text}\n"))
}

/// Writes `text` and the end of the line to stderr. Nobody need read it.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn written(to: &mut impl Write, text: &impl Display) -> io::Result<()> {
    match write!(to, "{text}").and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refuses(ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_reader_that_went_away_is_no_error() {
        assert!(written(&mut Refuses(ErrorKind::BrokenPipe), &"x").is_ok());
        assert!(written(&mut Refuses(ErrorKind::StorageFull), &"x").is_err());
    }
}
