//! What C holds, by number. A number is given once, so that one which was closed is known for what it is, whatever is done with it.
//!
//! The table is locked only to look up, keep and remove: nothing waits and nothing is dropped under its lock.

use std::collections::BTreeMap;
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
pub struct Table {
    last: Handle,
    held: BTreeMap<Handle, Held>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { last: 0, held: BTreeMap::new() });

/// The table.
pub fn held() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Keeps something, by a number of its own.
    pub fn keep(&mut self, what: Held) -> Handle {
        self.last += 1;
        self.held.insert(self.last, what);
        self.last
    }

    /// Keeps a subscription, unless its client was closed meanwhile.
    pub fn keep_subscription(&mut self, of: Handle, source: Source) -> Result<Handle, Fault> {
        self.client(of)?;
        Ok(self.keep(Held::Subscription(Arc::new(Subscription { of, source }))))
    }

    /// A client.
    pub fn client(&self, handle: Handle) -> Result<Client, Fault> {
        match self.held.get(&handle) {
            Some(Held::Client(client)) => Ok(client.clone()),
            _ => Err(self.unknown("a client", handle)),
        }
    }

    /// A subscription.
    pub fn subscription(&self, handle: Handle) -> Result<Arc<Subscription>, Fault> {
        match self.held.get(&handle) {
            Some(Held::Subscription(subscription)) => Ok(subscription.clone()),
            _ => Err(self.unknown("a subscription", handle)),
        }
    }

    /// A message.
    pub fn message(&self, handle: Handle) -> Result<Arc<Message>, Fault> {
        match self.held.get(&handle) {
            Some(Held::Message(message)) => Ok(message.clone()),
            _ => Err(self.unknown("a message", handle)),
        }
    }

    /// A loan.
    pub fn loan(&self, handle: Handle) -> Result<Arc<Mutex<Loaned>>, Fault> {
        match self.held.get(&handle) {
            Some(Held::Loan(loan)) => Ok(loan.clone()),
            _ => Err(self.unknown("a loan", handle)),
        }
    }

    /// Takes a client out, with its subscriptions.
    pub fn remove_client(&mut self, handle: Handle) -> Result<(Client, Vec<Arc<Subscription>>), Fault> {
        let client = self.client(handle)?;
        self.held.remove(&handle);
        let mut subscriptions = Vec::new();
        self.held.retain(|_, held| match held {
            Held::Subscription(subscription) if subscription.of == handle => {
                subscriptions.push(subscription.clone());
                false
            }
            _ => true,
        });
        Ok((client, subscriptions))
    }

    /// Takes a subscription out.
    pub fn remove_subscription(&mut self, handle: Handle) -> Result<Arc<Subscription>, Fault> {
        let subscription = self.subscription(handle)?;
        self.held.remove(&handle);
        Ok(subscription)
    }

    /// Takes a message or a loan out.
    pub fn remove_releasable(&mut self, handle: Handle) -> Result<Held, Fault> {
        match self.held.get(&handle) {
            Some(Held::Message(_) | Held::Loan(_)) => self.held.remove(&handle),
            _ => None,
        }
        .ok_or_else(|| self.unknown("a message or a loan", handle))
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
