//! openraft's bounded channel, one-shot channel and mutex, over tokio's, which draw no chance and read no clock.

use std::future::Future;

use openraft_rt::{
    Mpsc, MpscReceiver, MpscSender, MpscWeakSender, Mutex, Oneshot, OneshotSender, OptionalSend, SendError,
    TryRecvError,
};
use tokio::sync::{MutexGuard, mpsc, oneshot};

/// Bounded channels from many senders to one receiver.
#[derive(Clone, Copy, Debug)]
pub struct BoundedMpsc;

/// The receiving end of a [`BoundedMpsc`] channel.
#[derive(Debug)]
pub struct LetterReceiver<T>(mpsc::Receiver<T>);

impl Mpsc for BoundedMpsc {
    type Sender<T: OptionalSend> = mpsc::Sender<T>;
    type Receiver<T: OptionalSend> = LetterReceiver<T>;
    type WeakSender<T: OptionalSend> = mpsc::WeakSender<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (mpsc::Sender<T>, LetterReceiver<T>) {
        let (sender, receiver) = mpsc::channel(buffer);
        (sender, LetterReceiver(receiver))
    }
}

impl<T: OptionalSend> MpscSender<BoundedMpsc, T> for mpsc::Sender<T> {
    async fn send(&self, letter: T) -> Result<(), SendError<T>> {
        mpsc::Sender::send(self, letter).await.map_err(|unsent| SendError(unsent.0))
    }

    fn downgrade(&self) -> mpsc::WeakSender<T> {
        mpsc::Sender::downgrade(self)
    }
}

impl<T: OptionalSend> MpscReceiver<T> for LetterReceiver<T> {
    async fn recv(&mut self) -> Option<T> {
        self.0.recv().await
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv().map_err(|error| match error {
            mpsc::error::TryRecvError::Empty => TryRecvError::Empty,
            mpsc::error::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }
}

impl<T: OptionalSend> MpscWeakSender<BoundedMpsc, T> for mpsc::WeakSender<T> {
    fn upgrade(&self) -> Option<mpsc::Sender<T>> {
        mpsc::WeakSender::upgrade(self)
    }
}

/// Channels for one value.
#[derive(Clone, Copy, Debug)]
pub struct SingleUse;

/// The sending end of a [`SingleUse`] channel.
#[derive(Debug)]
pub struct SingleUseSender<T>(oneshot::Sender<T>);

impl Oneshot for SingleUse {
    type Sender<T: OptionalSend> = SingleUseSender<T>;
    type Receiver<T: OptionalSend> = oneshot::Receiver<T>;
    type ReceiverError = oneshot::error::RecvError;

    fn channel<T: OptionalSend>() -> (SingleUseSender<T>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (SingleUseSender(sender), receiver)
    }
}

impl<T: OptionalSend> OneshotSender<T> for SingleUseSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

/// A mutex that is granted in the order in which it was asked for.
#[derive(Debug)]
pub struct FairMutex<T>(tokio::sync::Mutex<T>);

impl<T: OptionalSend + 'static> Mutex<T> for FairMutex<T> {
    type Guard<'a> = MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        Self(tokio::sync::Mutex::new(value))
    }

    fn lock(&self) -> impl Future<Output = MutexGuard<'_, T>> + OptionalSend {
        self.0.lock()
    }
}
