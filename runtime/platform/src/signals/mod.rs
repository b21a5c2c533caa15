//! The signals that ask a process to end: SIGTERM, and SIGINT as Ctrl-C sends it.
//!
//! From [`Signals::listen`] on they are told instead of ending the process, each of them: a second one can mean "at once".

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::fmt;

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;
#[cfg(madsim)]
pub use sim::control;

/// Who asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: a person at a terminal.
    Interrupt,
    /// SIGTERM: a supervisor, or `kill`.
    Terminate,
}

impl Signal {
    /// Its number, for an exit status of 128 plus it.
    pub const fn number(self) -> i32 {
        match self {
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// Signals cannot be listened for.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for SIGINT and SIGTERM: {0}")]
pub struct SignalError(String);

/// Hears every signal sent to this process since it was made.
#[derive(Debug)]
pub struct Signals(arm::Signals);

impl Signals {
    /// Begins to listen, on this context.
    pub fn listen() -> Result<Self, SignalError> {
        arm::Signals::listen().map(Self)
    }

    /// Waits for the next signal. Equal signals that come in quick succession may be told as one.
    pub async fn next(&mut self) -> Signal {
        self.0.next().await
    }
}
