//! Doors for others: HTTP for people, monitors and programs.
//!
//! The [`Door`] decides: every address is a function of a request and the node's state, without sockets, and runs in the simulator.
//! The shell (production only) owns the sockets: loopback TCP and a Unix socket of mode 0600, with limits on everything that a stranger could
//! stretch. `API.md` beside this crate is the description for those who call. Not done here: encryption; a proxy stands in front for that.

pub mod door;
pub mod exchange;
pub mod guard;
pub mod metrics;
pub mod pages;
pub mod problem;
pub mod pulse;
pub mod request;
pub mod runs;
#[cfg(not(madsim))]
pub mod shell;
pub mod stream;

pub use door::{Call, Door, DoorConfig, Phase};
pub use problem::Problem;
pub use request::{Answer, Body, Method, Request, Via};
