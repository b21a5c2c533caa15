//! Scenario engine, oracles, trace: stands over node.
