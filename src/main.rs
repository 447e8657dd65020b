//! The `refrain` program: hands its arguments to the library and its answer to
//! the system.

use std::process::ExitCode;

fn main() -> ExitCode {
    refrain::cli::main(std::env::args_os())
}
