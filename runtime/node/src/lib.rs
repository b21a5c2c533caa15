//! A node put together, and what the binary `synod` is made of.
//!
//! [`Node`] starts, serves, drains and stops; it also runs in the simulator. The binary's commands stand in [`cli`].

pub mod attach;
#[cfg(not(madsim))]
pub mod cli;
pub mod config;
pub mod doctor;
pub mod http;
pub mod node;
pub mod placement;
pub mod selftest;
pub mod supervise;

pub use attach::AttachConfig;
pub use config::{NodeConfig, Settings};
pub use http::HttpConfig;
pub use node::{Drained, Node, Placement, StartNodeError};
pub use placement::PlacementConfig;
pub use supervise::{Crash, Intensity, Notice, Roster, Standing};
