//! A doorbell between processes: one waits, who holds its handle rings.

use std::future::poll_fn;
use std::task::{Context, Poll};

use synod_ring::Waiter;

use super::{Handle, MemoryError, arm};

/// The sleep side. One task waits at a time. Several rings before a wait count once, and a ring before the wait counts.
#[derive(Debug)]
pub struct Bell {
    hears: arm::Bell,
    rings: Option<Handle>,
}

impl Bell {
    /// A bell that nobody has rung. Call it in the context that will wait: its executor watches the bell.
    pub fn new() -> Result<Self, MemoryError> {
        let (hears, rings) = arm::Bell::new()?;
        Ok(Self { hears, rings: Some(Handle(rings)) })
    }

    /// The ringing end, to pass on. Give each sender a bell of its own: who holds the handle can also spoil the bell.
    pub fn handle(&self) -> Result<Handle, MemoryError> {
        self.rings.as_ref().ok_or(MemoryError::Closed)?.try_clone()
    }

    /// Closes this side's ringing end when it was passed on. The bell goes on; [`Self::handle`] fails from now on.
    pub fn close(&mut self) {
        self.rings = None;
    }

    /// Waits until it is rung; forever, when the ringing side has spoiled it.
    pub async fn rung(&self) {
        poll_fn(|cx| self.poll_rung(cx)).await;
    }

    /// Waits until nobody can ring it any more: every process that held its ringing end has closed it, or ended. To be waited for by the task
    /// that waits for [`Self::rung`], after it.
    pub async fn deserted(&self) {
        poll_fn(|cx| self.hears.poll_deserted(cx)).await;
    }

    /// As [`Self::rung`], for those who poll by hand.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.hears.poll_rung(cx)
    }
}

/// The wake side of another process's bell.
#[derive(Debug)]
pub struct Ringer(arm::Ringer);

/// Takes the ringing end that a bell's owner gave.
pub fn ringer(handle: Handle) -> Result<Ringer, MemoryError> {
    arm::Ringer::new(handle.0).map(Ringer)
}

impl Waiter for Ringer {
    /// Rings. It never blocks, whatever the bell's owner does; an owner that is gone hears nothing.
    fn wake(&self) {
        self.0.ring();
    }
}
