//! What C holds, by number. A number is given once, so that one which was closed is known for what it is, whatever is done with it.
//!
//! The table is locked inside these functions alone, to look up, keep and remove: nothing waits under its lock.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_client::Payload;
use synod_client::blocking::{Client, Received, Subscription as Source};

use crate::{Fault, Handle};

/// Something that C holds.
pub enum Held {
    /// A client.
    Client(Client),
    /// A subscription of a client.
    Subscription(Arc<Subscription>),
    /// A message that was received.
    Message(Arc<Message>),
    /// Memory that was lent.
    Loan(Arc<Mutex<Loaned>>),
}

/// A subscription.
pub struct Subscription {
    of: Handle,
    /// Where its messages come from.
    pub source: Source,
}

/// A message, in a place that does not move: C was given pointers to it.
pub struct Message {
    /// What it was sent to.
    pub subject: CString,
    /// Who sent it.
    pub source: CString,
    /// What it says.
    pub payload: Payload,
    /// The message itself, until it is answered.
    pub received: Mutex<Option<Received>>,
}

impl Message {
    /// Takes it to be answered, which is done once.
    pub fn take(&self) -> Result<Received, Fault> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        match &*received {
            Some(message) if message.is_request() => received.take().ok_or(Fault::Answered),
            Some(_) => Err(Fault::NotARequest),
            None => Err(Fault::Answered),
        }
    }
}

/// Memory that was lent.
pub enum Loaned {
    /// C may write to it.
    Filling(synod_client::Loan),
    /// It was sent, or that was tried.
    Sealed(Payload),
}

impl Loaned {
    /// Takes it from whoever writes to it.
    pub fn seal(&mut self) -> Payload {
        let payload = match std::mem::replace(self, Self::Sealed(Payload::copy_from(&[]))) {
            Self::Filling(loan) => loan.into(),
            Self::Sealed(payload) => payload,
        };
        *self = Self::Sealed(payload.clone());
        payload
    }
}

/// Everything that C holds.
struct Table {
    last: Handle,
    held: BTreeMap<Handle, Held>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { last: 0, held: BTreeMap::new() });

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps something, by a number of its own.
pub fn keep(what: Held) -> Handle {
    table().keep(what)
}

/// Keeps a subscription, unless its client was closed meanwhile.
pub fn keep_subscription(of: Handle, source: Source) -> Result<Handle, Fault> {
    let kept = Arc::new(Subscription { of, source });
    let mut table = table();
    table.find("a client", of, Held::client)?;
    Ok(table.keep(Held::Subscription(kept)))
}

/// A client.
pub fn client(handle: Handle) -> Result<Client, Fault> {
    table().find("a client", handle, Held::client)
}

/// A subscription.
pub fn subscription(handle: Handle) -> Result<Arc<Subscription>, Fault> {
    table().find("a subscription", handle, Held::subscription)
}

/// A message.
pub fn message(handle: Handle) -> Result<Arc<Message>, Fault> {
    table().find("a message", handle, |held| match held {
        Held::Message(message) => Some(message.clone()),
        _ => None,
    })
}

/// A loan.
pub fn loan(handle: Handle) -> Result<Arc<Mutex<Loaned>>, Fault> {
    table().find("a loan", handle, |held| match held {
        Held::Loan(loan) => Some(loan.clone()),
        _ => None,
    })
}

/// Takes a client out, with its subscriptions.
pub fn remove_client(handle: Handle) -> Result<(Client, Vec<Arc<Subscription>>), Fault> {
    let mut table = table();
    let client = table.find("a client", handle, Held::client)?;
    table.held.remove(&handle);
    let of_client = |held: &Held| held.subscription().filter(|subscription| subscription.of == handle);
    let subscriptions = table.held.values().filter_map(of_client).collect();
    table.held.retain(|_, held| of_client(held).is_none());
    Ok((client, subscriptions))
}

/// Takes a subscription out.
pub fn remove_subscription(handle: Handle) -> Result<Arc<Subscription>, Fault> {
    let mut table = table();
    let subscription = table.find("a subscription", handle, Held::subscription)?;
    table.held.remove(&handle);
    Ok(subscription)
}

/// Takes a message or a loan out.
pub fn remove_releasable(handle: Handle) -> Result<Held, Fault> {
    let mut table = table();
    match table.held.entry(handle) {
        Entry::Occupied(held) if matches!(held.get(), Held::Message(_) | Held::Loan(_)) => Ok(held.remove()),
        _ => Err(table.unknown("a message or a loan", handle)),
    }
}

impl Held {
    fn client(&self) -> Option<Client> {
        match self {
            Self::Client(client) => Some(client.clone()),
            _ => None,
        }
    }

    fn subscription(&self) -> Option<Arc<Subscription>> {
        match self {
            Self::Subscription(subscription) => Some(subscription.clone()),
            _ => None,
        }
    }
}

impl Table {
    fn keep(&mut self, what: Held) -> Handle {
        self.last += 1;
        self.held.insert(self.last, what);
        self.last
    }

    /// What has a number, as `pick` sees it.
    fn find<T>(
        &self,
        wanted: &'static str,
        handle: Handle,
        pick: impl FnOnce(&Held) -> Option<T>,
    ) -> Result<T, Fault> {
        self.held.get(&handle).and_then(pick).ok_or_else(|| self.unknown(wanted, handle))
    }

    fn unknown(&self, wanted: &'static str, handle: Handle) -> Fault {
        let is = match self.held.get(&handle) {
            Some(Held::Client(_)) => "it is a client's",
            Some(Held::Subscription(_)) => "it is a subscription's",
            Some(Held::Message(_)) => "it is a message's",
            Some(Held::Loan(_)) => "it is a loan's",
            None if (1..=self.last).contains(&handle) => "it was closed",
            None => "it was never given",
        };
        Fault::Unknown { wanted, handle, is }
    }
}
