//! The steps of a node that others can see: each store into memory that it shares, each frame to another process, each ring of a bell.
//!
//! A node can be made to die in place of any one of them, as by SIGKILL between two instructions: what it does from there on reaches
//! nobody. Who counts the steps of a run in which it lives can so walk through every death there is.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Node, NodeId, current, is_alive, state};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Store,
    Frame,
    Ring,
}

/// How many steps of each kind a node took in all its lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Stores into shared memory of its own; a record's bytes are one.
    pub stores: usize,
    /// Frames to other processes.
    pub frames: usize,
    /// Rings of other processes' bells.
    pub rings: usize,
}

impl Taken {
    /// All of them.
    pub fn all(self) -> usize {
        self.stores + self.frames + self.rings
    }
}

#[derive(Default)]
struct Steps(RefCell<BTreeMap<NodeId, (Taken, Option<usize>)>>);

/// How many steps a node took so far.
pub fn taken(node: NodeId) -> Taken {
    state::<Steps>().0.borrow().get(&node).map_or_else(Taken::default, |(taken, _)| *taken)
}

/// Lets a node die in place of the step that follows its first `steps`; once, should it be started again.
pub fn die_after(node: NodeId, steps: usize) {
    state::<Steps>().0.borrow_mut().entry(node).or_default().1 = Some(steps);
}

/// The running node is about to take a step.
pub(crate) fn take(step: Step) {
    let life = current();
    if life.node == NodeId::OUTSIDE || !is_alive(life) {
        return;
    }
    let steps = state::<Steps>();
    let mut steps = steps.0.borrow_mut();
    let (taken, last) = steps.entry(life.node).or_default();
    if *last == Some(taken.all()) {
        *last = None;
        drop(steps);
        return Node(life.node).kill();
    }
    match step {
        Step::Store => taken.stores += 1,
        Step::Frame => taken.frames += 1,
        Step::Ring => taken.rings += 1,
    }
}
