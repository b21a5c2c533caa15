//! From completions to futures: who waits for which operation, and what happens when nobody does any more.
//!
//! Shared by both arms. A context has one queue over one port. A future dropped before its completion leaves the operation
//! to finish by itself: its buffer is freed, and a file that it opened is closed, when the completion comes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::arm::Port;
use super::error::Failure;
use super::operation::{Completion, Operation, OperationId, Outcome};

enum Slot {
    Waiting(Option<Waker>),
    Completed(Completion),
    Dropped,
}

/// One context's operations in flight.
pub(super) struct Queue {
    port: Port,
    slots: RefCell<BTreeMap<OperationId, Slot>>,
    next: Cell<u64>,
    driven: Cell<bool>,
}

impl Queue {
    pub(super) fn new(port: Port) -> Rc<Self> {
        Rc::new(Self {
            port,
            slots: RefCell::new(BTreeMap::new()),
            next: Cell::new(0),
            driven: Cell::new(false),
        })
    }

    /// Submits at once, whether or not the answer is ever awaited.
    pub(super) fn submit(self: &Rc<Self>, operation: Operation) -> Submitted {
        let id = OperationId(self.next.get());
        self.next.set(id.0 + 1);
        self.slots.borrow_mut().insert(id, Slot::Waiting(None));
        self.port.submit(operation, id);
        self.drive();
        Submitted { queue: self.clone(), id }
    }

    /// Submits what nobody will wait for; also from a destructor, where there may be no executor left to drive it.
    pub(super) fn submit_detached(&self, operation: Operation) {
        let id = OperationId(self.next.get());
        self.next.set(id.0 + 1);
        self.slots.borrow_mut().insert(id, Slot::Dropped);
        self.port.submit(operation, id);
    }

    /// Starts the task that hands completions out, unless this executor runs one already.
    fn drive(self: &Rc<Self>) {
        struct Driving(Rc<Queue>);
        impl Drop for Driving {
            fn drop(&mut self) {
                self.0.driven.set(false);
                // Another context of the same node may still wait: whoever wakes first drives on.
                for slot in self.0.slots.borrow_mut().values_mut() {
                    if let Slot::Waiting(waker) = slot
                        && let Some(waker) = waker.take()
                    {
                        waker.wake();
                    }
                }
            }
        }
        if self.driven.replace(true) {
            return;
        }
        let driving = Driving(self.clone());
        drop(crate::task::spawn(async move {
            let mut completions = Vec::new();
            let mut source = driving.0.port.completions();
            loop {
                source.next(&mut completions).await;
                for completion in completions.drain(..) {
                    driving.0.complete(completion);
                }
            }
        }));
    }

    fn complete(&self, completion: Completion) {
        let id = completion.id;
        let mut slots = self.slots.borrow_mut();
        let slot = slots.remove(&id).unwrap_or_else(|| panic!("operation {} completed twice", id.0));
        match slot {
            Slot::Waiting(waker) => {
                slots.insert(id, Slot::Completed(completion));
                drop(slots);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Slot::Dropped => {
                drop(slots);
                self.discard(completion);
            }
            Slot::Completed(_) => panic!("operation {} completed twice", id.0),
        }
    }

    /// Nobody waits for this any more: what it acquired is given back.
    fn discard(&self, completion: Completion) {
        if let Ok(Outcome::Opened(file)) = completion.result {
            synod_probe::reach!("disk.abandoned_open_closed");
            self.submit_detached(Operation::Close { file });
        }
    }
}

/// An operation under way; resolves to its completion.
pub(super) struct Submitted {
    queue: Rc<Queue>,
    id: OperationId,
}

impl Future for Submitted {
    type Output = Completion;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completion> {
        let mut slots = self.queue.slots.borrow_mut();
        match slots.remove(&self.id) {
            Some(Slot::Completed(completion)) => Poll::Ready(completion),
            Some(Slot::Waiting(_)) => {
                slots.insert(self.id, Slot::Waiting(Some(cx.waker().clone())));
                drop(slots);
                // The executor that drove the queue may have ended while another on this thread goes on.
                self.queue.drive();
                Poll::Pending
            }
            Some(Slot::Dropped) | None => {
                Poll::Ready(Completion { id: self.id, result: Err(Failure::Abandoned), buffer: None })
            }
        }
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        let mut slots = self.queue.slots.borrow_mut();
        match slots.remove(&self.id) {
            Some(Slot::Waiting(_)) => {
                synod_probe::reach!("disk.future_dropped_in_flight");
                slots.insert(self.id, Slot::Dropped);
            }
            Some(Slot::Completed(completion)) => {
                drop(slots);
                self.queue.discard(completion);
            }
            Some(Slot::Dropped) | None => {}
        }
    }
}
