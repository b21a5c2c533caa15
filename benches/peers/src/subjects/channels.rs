//! Bounded channels by value: crossbeam's and std's. Neither has batches; a batch is so many messages in a row.

use super::{check, message, places};
use crate::measure::{Receiver, Sender};
use std::sync::mpsc;

/// crossbeam's bounded channel.
pub fn crossbeam<const N: usize>()
-> (crossbeam_channel::Sender<[u8; N]>, crossbeam_channel::Receiver<[u8; N]>) {
    crossbeam_channel::bounded(places(N))
}

/// std's bounded channel.
pub fn std_sync<const N: usize>() -> (mpsc::SyncSender<[u8; N]>, mpsc::Receiver<[u8; N]>) {
    mpsc::sync_channel(places(N))
}

macro_rules! by_value {
    ($sender:ty, $receiver:ty) => {
        impl<const N: usize> Sender for $sender {
            #[inline(always)]
            fn send(&mut self, number: u64, count: usize) -> usize {
                for sent in 0..count {
                    if self.try_send(message(number + sent as u64)).is_err() {
                        return sent;
                    }
                }
                count
            }
        }

        impl<const N: usize> Receiver for $receiver {
            #[inline(always)]
            fn receive(&mut self, number: u64, count: usize) -> usize {
                for received in 0..count {
                    match self.try_recv() {
                        Ok(message) => check(&message, number + received as u64),
                        Err(_) => return received,
                    }
                }
                count
            }
        }
    };
}

by_value!(crossbeam_channel::Sender<[u8; N]>, crossbeam_channel::Receiver<[u8; N]>);
by_value!(mpsc::SyncSender<[u8; N]>, mpsc::Receiver<[u8; N]>);
