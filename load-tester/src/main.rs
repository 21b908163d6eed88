//! The `load-tester` command; everything is in the library, so that the benches can run the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    load_tester::cli::main(std::env::args_os())
}
