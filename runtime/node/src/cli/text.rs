//! Printing results: to standard output, quietly done if nobody reads on.

use std::io::{self, ErrorKind, Write};

use super::{Exit, Problem};

/// Prints `text`. A reader that has gone away (as `head` does) is no problem.
pub fn print(text: &str) -> Result<Exit, Problem> {
    print_bytes(text.as_bytes())
}

/// Prints bytes as they are.
pub fn print_bytes(bytes: &[u8]) -> Result<Exit, Problem> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Fine),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Fine),
        Err(error) => Err(Problem::failed(format!("cannot write the result: {error}"))),
    }
}

/// Prints `value` as one JSON document.
pub fn print_json(value: &impl serde::Serialize) -> Result<Exit, Problem> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => Err(Problem::failed(format!("the result has no form in JSON: {error}"))),
    }
}
