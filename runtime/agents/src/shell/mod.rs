//! What is common to all agents: the trait they fill, the post that drives them on the fabric, the desk they work at.
//!
//! An [`Agent`] says what is done in each part of its life; a [`Post`] is its place on the fabric and calls those hooks; a
//! [`Desk`] is what the work on one task has at hand. Who is started again after a crash, and how often, is the node's
//! business.

mod agent;
mod answer;
mod desk;
mod post;
mod round;

pub use agent::{Agent, Builtin, Done, Hook, Part, Place, WorkError, done, each};
pub use answer::Unanswered;
pub(crate) use answer::ask;
pub use desk::Desk;
pub use post::{Counts, Make, Phase, Post, PostError, State};
