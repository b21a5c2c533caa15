//! The door of a mailbox: where senders make lanes. A lock is taken here, once for each lane, and never to send.

use super::{ARRIVALS, Class, LaneId, SLEEPING};
use crate::doorbell::{Bell, Waiter};
use crate::layout::LayoutError;
use crate::spsc::{Consumer, Producer};
use crate::sync::{Hardware, Memory};
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A new lane on its way to the mailbox's owner.
pub(super) struct Arrival<M: Memory> {
    pub id: LaneId,
    pub consumer: Consumer<M>,
}

/// What the mailbox and its ports share.
pub(super) struct Shared<M: Memory> {
    pub control: M,
    pub classes: usize,
    pub lanes: usize,
    pub waiter: Arc<dyn Waiter>,
    places: Mutex<Places<M>>,
}

struct Places<M: Memory> {
    /// Free places of each class, the lowest last.
    free: Vec<Vec<u16>>,
    generations: Vec<Vec<u32>>,
    arrivals: Vec<Arrival<M>>,
    gone: bool,
}

impl<M: Memory> Places<M> {
    /// A free place of `class`, of which there are `lanes`.
    fn take(&mut self, class: Class, lanes: usize) -> Result<LaneId, ConnectError> {
        let rank = usize::from(class.0);
        let classes = self.free.len();
        let free = self.free.get_mut(rank).ok_or(ConnectError::NoSuchClass { class: class.0, classes })?;
        let place = free.pop().ok_or(ConnectError::NoPlace { lanes })?;
        Ok(LaneId { class, place, generation: self.generations[rank][usize::from(place)] })
    }
}

impl<M: Memory> Shared<M> {
    pub fn new(control: M, classes: usize, lanes: usize, waiter: Arc<dyn Waiter>) -> Self {
        let places = Places {
            free: vec![(0..lanes as u16).rev().collect(); classes],
            generations: vec![vec![0; lanes]; classes],
            arrivals: Vec::new(),
            gone: false,
        };
        Self { control, classes, lanes, waiter, places: Mutex::new(places) }
    }

    fn places(&self) -> MutexGuard<'_, Places<M>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lanes made since the last call.
    pub fn arrived(&self) -> Vec<Arrival<M>> {
        std::mem::take(&mut self.places().arrivals)
    }

    /// A place for a lane that the owner seats itself.
    pub fn occupy(&self, class: Class) -> Result<LaneId, ConnectError> {
        self.places().take(class, self.lanes)
    }

    /// Gives a lane's place back.
    pub fn vacate(&self, class: usize, place: usize) {
        let mut places = self.places();
        places.generations[class][place] = places.generations[class][place].wrapping_add(1);
        places.free[class].push(place as u16);
    }

    /// The owner leaves: no more lanes; those on their way are returned, to be dropped.
    pub fn leave(&self) -> Vec<Arrival<M>> {
        self.places().gone = true;
        self.arrived()
    }
}

/// Why no lane was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The regions make no ring.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The mailbox has no such class.
    #[error("class {class} of a mailbox with {classes}")]
    NoSuchClass {
        /// Class asked for.
        class: u8,
        /// Classes there are.
        classes: usize,
    },
    /// All places of the class are taken.
    #[error("all {lanes} lanes of the class are taken: end one, or make a larger mailbox")]
    NoPlace {
        /// Lanes a class has.
        lanes: usize,
    },
    /// The mailbox was dropped.
    #[error("the mailbox is gone: look up the route again")]
    Gone,
}

/// The door of a mailbox, for any number of senders on any thread.
pub struct Port<M: Memory = Hardware> {
    shared: Arc<Shared<M>>,
}

impl<M: Memory> Clone for Port<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<M: Memory> Port<M> {
    pub(super) fn new(shared: Arc<Shared<M>>) -> Self {
        Self { shared }
    }

    /// Makes a lane of `class` over two fresh regions and returns its writing end. `space` wakes the sender when it waits
    /// for space.
    pub fn connect(
        &self,
        class: Class,
        sender: M,
        receiver: M,
        space: Option<Arc<dyn Waiter>>,
    ) -> Result<(LaneId, Producer<M>), ConnectError> {
        let shared = &self.shared;
        let consumer = Consumer::over(receiver.clone(), sender.clone(), space)?;
        let mut producer = Producer::over(sender, receiver, None)?;
        let mut places = shared.places();
        if places.gone {
            return Err(ConnectError::Gone);
        }
        let id = places.take(class, shared.lanes)?;
        producer.set_bell(Bell {
            control: shared.control.clone(),
            sleeping: SLEEPING,
            ready: Some(shared.ready(usize::from(class.0), usize::from(id.place))),
            waiter: shared.waiter.clone(),
        });
        places.arrivals.push(Arrival { id, consumer });
        drop(places);
        // SAFETY: both words lie inside the control memory.
        unsafe {
            shared.control.fetch_or(ARRIVALS, 1, AcqRel);
            shared.control.fence();
            if shared.control.load(SLEEPING, Relaxed) != 0 {
                shared.waiter.wake();
            }
        }
        Ok((id, producer))
    }
}
