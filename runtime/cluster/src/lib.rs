//! Consensus ground: openraft over the seam.
