//! A watched value: its last state, and word of its changes to receivers in the order in which they were made.
//!
//! One body for both arms, here because of the simulated one: tokio's watch channel picks among eight queues of waiters by a
//! generator that no seed reaches, so two runs of one seed would wake their receivers in different orders.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Poll, Waker};

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    /// Raised under the value's write lock, so that a reader's value and version belong together.
    version: AtomicU64,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// Waiting receivers by number. Held while a receiver compares versions, so that no change slips between its look and its wait.
    waiting: Mutex<BTreeMap<u64, Waker>>,
    last_number: AtomicU64,
}

impl<T> Shared<T> {
    fn read(&self) -> Ref<'_, T> {
        Ref(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        let woken = std::mem::take(&mut *self.waiting());
        woken.into_values().for_each(Waker::wake);
    }
}

/// A value to watch, and its first receiver, which has seen `init`.
pub fn channel<T>(init: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(init);
    let receiver = sender.subscribe();
    (sender, receiver)
}

/// Nobody sends any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every sender of the watched value is gone")]
pub struct Closed;

/// The present value, borrowed: whoever changes it waits meanwhile. Never hold it across an `.await`.
#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The end that changes the value; there may be several.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// A value that nobody watches yet.
    pub fn new(init: T) -> Self {
        Self(Arc::new(Shared {
            value: RwLock::new(init),
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
            waiting: Mutex::default(),
            last_number: AtomicU64::new(0),
        }))
    }

    /// Changes the value and tells all receivers; gives it back when there are none.
    pub fn send(&self, value: T) -> Result<(), T> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(value);
        }
        self.send_replace(value);
        Ok(())
    }

    /// Changes the value, also when nobody watches it yet, and gives back the former one.
    pub fn send_replace(&self, value: T) -> T {
        let mut value = value;
        self.send_if_modified(|current| {
            std::mem::swap(current, &mut value);
            true
        });
        value
    }

    /// Lets `modify` change the value in place; receivers are told when it answers true, which is passed on.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
        let modified = modify(&mut value);
        if modified {
            self.0.version.fetch_add(1, Ordering::AcqRel);
        }
        drop(value);
        if modified {
            self.0.wake_all();
        }
        modified
    }

    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.read()
    }

    /// A new receiver, which has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        let value = self.0.read();
        let seen = self.0.version.load(Ordering::Acquire);
        drop(value);
        Receiver::new(&self.0, seen)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.wake_all();
        }
    }
}

/// An end that watches, and knows what it has seen.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
    number: u64,
}

impl<T> Receiver<T> {
    fn new(shared: &Arc<Shared<T>>, seen: u64) -> Self {
        shared.receivers.fetch_add(1, Ordering::AcqRel);
        let number = shared.last_number.fetch_add(1, Ordering::Relaxed);
        Self { shared: shared.clone(), seen, number }
    }

    /// Waits for a value that this receiver has not seen, and counts it as seen. A change that came before the last sender went is still
    /// told. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        poll_fn(|cx| {
            let mut waiting = self.shared.waiting();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Poll::Ready(Ok(()));
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Poll::Ready(Err(Closed));
            }
            waiting.insert(self.number, cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The present value, seen or not.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// The present value, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.version.load(Ordering::Acquire);
        value
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(&self.shared, self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
        let waker = self.shared.waiting().remove(&self.number);
        // After the lock: a waker's destructor may be anyone's code.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Wake};

    struct Note(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn receivers_are_woken_in_the_order_in_which_they_were_made_whenever_they_began_to_wait() {
        let (sender, first) = channel(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut waits: Vec<_> = (0..20)
            .map(|_| {
                let mut receiver = first.clone();
                Box::pin(async move { receiver.changed().await })
            })
            .collect();
        for (i, wait) in waits.iter_mut().enumerate().rev() {
            let waker = Arc::new(Note(i, woken.clone())).into();
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        sender.send(1).unwrap();
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_receiver_that_gave_up_waiting_still_sees_the_change_and_then_the_end() {
        let (sender, mut receiver) = channel("old");
        assert!(poll_once(receiver.changed()).is_pending());
        sender.send("new").unwrap();
        drop(sender);
        assert_eq!(poll_once(receiver.changed()), Poll::Ready(Ok(())));
        assert_eq!(*receiver.borrow(), "new");
        assert_eq!(poll_once(receiver.changed()), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn a_value_that_nobody_watches_comes_back_unless_it_is_to_stay() {
        let (sender, receiver) = channel(1);
        drop(receiver);
        assert_eq!(sender.send(2), Err(2));
        assert_eq!(sender.send_replace(3), 1);
        let mut late = sender.subscribe();
        assert!(poll_once(late.changed()).is_pending(), "what was there before is seen");
        sender.send(4).unwrap();
        assert_eq!(*late.borrow_and_update(), 4);
        assert!(poll_once(late.changed()).is_pending());
    }

    #[test]
    fn a_silent_change_wakes_nobody_and_is_still_there_to_be_read() {
        let (sender, mut receiver) = channel(1);
        let unchanged = sender.send_if_modified(|value| {
            *value = 2;
            false
        });
        assert!(!unchanged);
        assert!(poll_once(receiver.changed()).is_pending());
        assert_eq!(*receiver.borrow(), 2);
    }
}
