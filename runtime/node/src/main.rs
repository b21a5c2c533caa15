//! Entry point of the binary `synod`: hands the command line over and exits as told.

use std::process::ExitCode;

fn main() -> ExitCode {
    synod_node::cli::main(std::env::args_os())
}
