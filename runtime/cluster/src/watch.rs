//! openraft's watch channel: the last value, and word of its changes to receivers in the order in which they were made.
//!
//! tokio's is not used because it picks among eight queues of waiters by a generator that no seed reaches: two runs of one seed
//! would wake their receivers in different orders.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Poll, Waker};

use openraft_rt::watch::{RecvError, SendError};
use openraft_rt::{OptionalSend, OptionalSync, Watch, WatchReceiver, WatchSender};

/// Watch channels whose receivers are woken in order.
#[derive(Clone, Copy, Debug)]
pub struct OrderedWatch;

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
    fn read(&self) -> WatchRef<'_, T> {
        WatchRef(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        let woken = std::mem::take(&mut *self.waiting());
        woken.into_values().for_each(Waker::wake);
    }

    /// Changes the value; receivers are told when `modify` says that it did.
    fn modify(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        let modified = modify(&mut value);
        if modified {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        drop(value);
        if modified {
            self.wake_all();
        }
        modified
    }
}

/// The current value, borrowed: senders wait while it is held.
#[derive(Debug)]
pub struct WatchRef<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for WatchRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The sending end; there may be several.
#[derive(Debug)]
pub struct WatchedBy<T>(Arc<Shared<T>>);

/// A receiving end, which knows what it has seen.
#[derive(Debug)]
pub struct Watcher<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
    number: u64,
}

impl<T> Watcher<T> {
    fn new(shared: &Arc<Shared<T>>, seen: u64) -> Self {
        shared.receivers.fetch_add(1, Ordering::AcqRel);
        let number = shared.last_number.fetch_add(1, Ordering::Relaxed);
        Self { shared: shared.clone(), seen, number }
    }
}

impl<T> Clone for WatchedBy<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl<T> Drop for WatchedBy<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.wake_all();
        }
    }
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        Self::new(&self.shared, self.seen)
    }
}

impl<T> Drop for Watcher<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
        let waker = self.shared.waiting().remove(&self.number);
        // After the lock: a waker's destructor may be anyone's code.
        drop(waker);
    }
}

impl Watch for OrderedWatch {
    type Sender<T: OptionalSend + OptionalSync> = WatchedBy<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Watcher<T>;
    type Ref<'a, T: OptionalSend + 'a> = WatchRef<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (WatchedBy<T>, Watcher<T>) {
        let shared = Arc::new(Shared {
            value: RwLock::new(init),
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
            waiting: Mutex::default(),
            last_number: AtomicU64::new(0),
        });
        let receiver = Watcher::new(&shared, 0);
        (WatchedBy(shared), receiver)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<OrderedWatch, T> for WatchedBy<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(SendError(value));
        }
        self.0.modify(|current| {
            *current = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.0.modify(modify)
    }

    fn borrow_watched(&self) -> WatchRef<'_, T> {
        self.0.read()
    }

    fn subscribe(&self) -> Watcher<T> {
        let value = self.0.read();
        let seen = self.0.version.load(Ordering::Acquire);
        drop(value);
        Watcher::new(&self.0, seen)
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<OrderedWatch, T> for Watcher<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|cx| {
            let mut waiting = self.shared.waiting();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Poll::Ready(Ok(()));
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Poll::Ready(Err(RecvError(())));
            }
            waiting.insert(self.number, cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn borrow_watched(&self) -> WatchRef<'_, T> {
        self.shared.read()
    }

    fn borrow_and_update(&mut self) -> WatchRef<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.version.load(Ordering::Acquire);
        value
    }
}
