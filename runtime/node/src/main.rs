//! Entry point of the binary `synod`: hands the command line over and exits as told.

use std::process::ExitCode;

#[cfg(not(madsim))]
fn main() -> ExitCode {
    synod_node::cli::main(std::env::args_os())
}

/// The simulated build has no sockets, so it has no commands either.
#[cfg(madsim)]
fn main() -> ExitCode {
    eprintln!("this is a simulated build: run scenarios with `cargo sim run FILE --seed N`");
    ExitCode::from(2)
}
