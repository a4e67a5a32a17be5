//! The `kift` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    kift::cli::run()
}
