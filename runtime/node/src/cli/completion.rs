//! `synod completions`: a script that lets a shell complete commands and options.

use clap::CommandFactory;

use super::arguments::{Arguments, CompletionsOptions};
use super::{Exit, Problem, text};

pub fn main(options: &CompletionsOptions) -> Result<Exit, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "synod", &mut script);
    text::print_bytes(&script)
}
