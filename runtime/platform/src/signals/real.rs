//! Real signals, by the event loop's handler.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::{Signal, SignalError};

#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Stream,
    terminate: Stream,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, SignalError> {
        let open = |kind| signal(kind).map_err(|error| SignalError(error.to_string()));
        Ok(Self { interrupt: open(SignalKind::interrupt())?, terminate: open(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            // A stream's end would mean that the handler is gone for good: nothing more will come.
            if let Poll::Ready(Some(())) = self.terminate.poll_recv(cx) {
                return Poll::Ready(Signal::Terminate);
            }
            if let Poll::Ready(Some(())) = self.interrupt.poll_recv(cx) {
                return Poll::Ready(Signal::Interrupt);
            }
            Poll::Pending
        })
        .await
    }
}
