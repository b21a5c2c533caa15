//! A node put together, and the binary synod.
