//! The shell around the door: sockets, limits on what strangers may stretch, the client's side, and the service manager.
//!
//! It decides nothing about what is asked: a request is read whole within its bounds and handed to the door's context, and the answer
//! is written as it comes. Absent from the simulated build.

pub mod client;
mod listen;
mod patience;
mod server;
pub mod systemd;

pub use listen::{Bind, BindError, Bound};
pub use server::Server;
