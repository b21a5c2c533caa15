//! The agents that do the work.
