//! The canary: an oracle that always fires, where a scenario names it.
//!
//! Definition: nothing is ever right. Source: a suite that cannot fail proves nothing, so one scenario must fail in every sweep.
//! Known false positives: all of it, by design.

use super::{Judgement, Oracle};
use crate::verdict::Kind;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "canary.always",
    kind: Kind::Safety,
    only_if_named: true,
    means: "always fires: proves that a failure is seen",
    judge: |_, _| Judgement { judged: 1, wrong: vec!["the canary fires, as it always does".to_owned()] },
};
