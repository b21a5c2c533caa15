//! What the receiver of a lane holds of the sender's slots, in the sender's own books: which slot, how often, until it is given back.
//!
//! A lane can end while its receiver lives, as when the node is lost: what is held then is [`Parted`], and no one writes it before the
//! receiver has let go, or has ended by the kernel's word, or has been no part of the node for a while.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use synod_platform::task;
use synod_probe::reach;
use synod_ring::pool::Slice;
use synod_ring::returns::Returned;
use synod_ring::wish::Wish;

use super::payloads::Name;
use crate::lane::Violation;
use crate::registry::ContextId;

/// For each slot that was passed a clone that keeps it, and how often it is out.
#[derive(Default)]
pub(crate) struct Holds {
    slots: BTreeMap<u64, (Slice, u32)>,
    out: usize,
    returned: Option<Returned>,
}

impl Holds {
    /// The receiver is there, and gives back in this place.
    pub fn meet(&mut self, returned: Returned) {
        self.returned = Some(returned);
    }

    /// A slot is passed: held until the receiver gives it back, or is gone.
    pub fn hold(&mut self, name: Name, slice: Slice) {
        self.slots.entry(name.word()).or_insert((slice, 0)).1 += 1;
        self.out += 1;
    }

    /// Looks what the receiver gave back. It can give back what it holds, and that often: anything else is a rule broken, and whoever breaks it
    /// holds nothing any more.
    pub fn collect(&mut self) -> Result<(), Violation> {
        self.take_back().inspect_err(|_| {
            self.slots.clear();
            self.out = 0;
        })
    }

    fn take_back(&mut self) -> Result<(), Violation> {
        let Self { returned: Some(returned), slots, out } = self else { return Ok(()) };
        let mut forged = None;
        returned.collect(|name| match slots.get_mut(&name) {
            Some((_, count)) => {
                *count -= 1;
                *out -= 1;
                if *count == 0 {
                    slots.remove(&name);
                }
            }
            None => forged = Some(name),
        })?;
        match forged {
            Some(name) => Err(Violation::NotHeld(name)),
            None => Ok(()),
        }
    }

    /// How many are out.
    pub fn out(&self) -> usize {
        self.out
    }
}

/// What a receiver holds of a lane that has ended.
pub(crate) struct Parted {
    to: ContextId,
    holds: Holds,
    wish: Wish,
    watch: task::JoinHandle<()>,
    deserted: Rc<Cell<bool>>,
}

impl Drop for Parted {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Parted {
    /// The receiver `to` holds this; `watch` hears its bell, which it rings when it gives back what is wished for, and whether that is deserted.
    pub fn new(
        to: ContextId,
        holds: Holds,
        wish: Wish,
        watch: task::JoinHandle<()>,
        deserted: Rc<Cell<bool>>,
    ) -> Self {
        reach!("attach.parted");
        Self { to, holds, wish, watch, deserted }
    }

    /// Who holds it.
    pub fn to(&self) -> ContextId {
        self.to
    }

    /// How many slots it held at the last look.
    pub fn held(&self) -> usize {
        self.holds.out()
    }

    /// Whether it holds something still. A receiver that breaks a rule holds nothing any more.
    pub fn is_held(&mut self) -> bool {
        !self.deserted.get() && self.holds.collect().is_ok() && self.holds.out() > 0
    }

    /// Wants its bell rung when the receiver gives something back. Look again after this.
    pub fn want_back(&self) {
        self.wish.say();
    }
}
