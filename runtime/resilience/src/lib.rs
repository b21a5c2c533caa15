//! Pure state machines that keep callers alive when callees are not.
