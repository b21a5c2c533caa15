//! Simulated signals: sent by the engine to a node; one that nobody listens for kills the node, as the kernel's default does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Signal, SignalError};
use crate::simulation::{self, Incarnation};

/// What the engine sends.
pub mod control {
    use super::{Listeners, Signal, simulation};
    use crate::simulation::Node;

    /// Sends a signal to a node's present life. Does nothing to one that is down.
    pub fn send(node: Node, signal: Signal) {
        let life = node.incarnation();
        if !simulation::is_alive(life) {
            return;
        }
        let listeners = simulation::state::<Listeners>();
        let heard = match listeners.0.borrow_mut().get_mut(&life) {
            Some(all) => {
                all.retain(|listener| listener.send(signal).is_ok());
                !all.is_empty()
            }
            None => false,
        };
        if !heard {
            node.kill();
        }
    }
}

type Senders = BTreeMap<Incarnation, Vec<UnboundedSender<Signal>>>;

#[derive(Default)]
struct Listeners(RefCell<Senders>);

#[derive(Debug)]
pub(super) struct Signals(UnboundedReceiver<Signal>);

impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "the real arm may fail here")]
    pub(super) fn listen() -> Result<Self, SignalError> {
        let (send, receive) = unbounded_channel();
        let listeners: Rc<Listeners> = simulation::state();
        listeners.0.borrow_mut().entry(simulation::current()).or_default().push(send);
        Ok(Self(receive))
    }

    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            // Only a run that is over drops the sending side.
            None => std::future::pending().await,
        }
    }
}
