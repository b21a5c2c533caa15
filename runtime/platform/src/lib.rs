//! The seam to the world: real and simulated arms side by side.
