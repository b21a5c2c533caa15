//! Fault models of disk, network, clock and memory: pure, no I/O.
