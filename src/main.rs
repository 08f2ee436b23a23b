//! The binary `primacy`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    primacy::cli::main()
}
