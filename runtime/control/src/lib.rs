//! Configuration, read strictly.
