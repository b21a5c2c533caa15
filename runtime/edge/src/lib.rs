//! Doors for others.
