//! What every other crate may say about itself: rare events reached, bugs planted, traces, losses.
//!
//! - [`reach!`] counts that a rare event happened; a sweep that never reached it has a hole.
//! - [`plant!`] is true only in a chaos build in which that bug was chosen by name.
//! - [`event!`] tells the trace what happened; the simulator hashes the trace.
//! - [`loss!`] counts something accepted or owed that was given up: always on, by place and reason.
//!
//! `reach!` and `event!` cost nothing without the feature `observe`, `plant!` nothing without `plant`;
//! a release build with `plant` does not compile.

mod guard;
pub mod loss;
pub mod plant;
pub mod reach;
pub mod trace;

#[cfg(all(feature = "plant", not(debug_assertions)))]
compile_error!("the feature `plant` puts bugs into the product: it is refused in a release build");
