//! What one run holds: its nodes, and whatever the simulated arms keep for it.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::NodeId;
use super::node::{Incarnation, NodeState};

#[derive(Default)]
pub(super) struct World {
    pub(super) nodes: RefCell<BTreeMap<NodeId, NodeState>>,
    pub(super) incarnations: RefCell<BTreeMap<madsim::task::NodeId, Incarnation>>,
    #[expect(clippy::type_complexity, reason = "a list of callbacks, named once")]
    pub(super) hooks: RefCell<Vec<Rc<dyn Fn(Incarnation)>>>,
    states: RefCell<BTreeMap<TypeId, Rc<dyn Any>>>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Ends the world of this thread when dropped.
pub(super) struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let world = WORLD.take();
        drop(world);
    }
}

pub(super) fn enter() -> Leave {
    let before = WORLD.replace(Some(Rc::default()));
    assert!(before.is_none(), "a run inside a run: give each its own thread");
    Leave
}

/// The world of this thread. Panics outside of a run.
pub(super) fn world() -> Rc<World> {
    WORLD.with_borrow(|world| match world {
        Some(world) => world.clone(),
        None => panic!("this build is the simulator's: call from within simulation::run or testing::run"),
    })
}

/// The world of this thread, if there is one: for destructors, which may run when it is over.
pub(super) fn try_world() -> Option<Rc<World>> {
    WORLD.try_with(|world| world.borrow().clone()).ok().flatten()
}

/// Whether this thread is in a run: destructors ask, which may run when it is over.
pub fn in_run() -> bool {
    try_world().is_some()
}

/// The run's one value of type `T`, made by `Default` at the first call: where a simulated arm keeps its world.
pub fn state<T: Default + 'static>() -> Rc<T> {
    let world = world();
    let found = world.states.borrow().get(&TypeId::of::<T>()).cloned();
    let any = found.unwrap_or_else(|| {
        let made: Rc<dyn Any> = Rc::new(T::default());
        world.states.borrow_mut().insert(TypeId::of::<T>(), made.clone());
        made
    });
    any.downcast().unwrap_or_else(|_| unreachable!("kept under its own type id"))
}
