//! Queues inside one process: disruptor's ring, and the bounded channels of kanal, flume and tokio, all polled.

use super::{check, fill, message, places};
use crate::measure::{Receiver, Sender};
use disruptor::{
    BusySpin, EventPoller, Producer, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
    build_single_producer,
};
use tokio::sync::mpsc;

/// The publishing end of a disruptor, which writes in place.
pub struct Publishing<const N: usize>(SingleProducer<[u8; N], SingleConsumerBarrier>);

/// Its polling end, which reads in place.
pub struct Polling<const N: usize>(EventPoller<[u8; N], SingleProducerBarrier>);

/// A disruptor of one producer and one poller.
pub fn disruptor<const N: usize>() -> (Publishing<N>, Polling<N>) {
    let builder = build_single_producer(places(N), || [0; N], BusySpin);
    let (poller, builder) = builder.new_event_poller();
    (Publishing(builder.build()), Polling(poller))
}

impl<const N: usize> Sender for Publishing<N> {
    #[inline(always)]
    fn send(&mut self, number: u64, count: usize) -> usize {
        let published = if count == 1 {
            self.0.try_publish(|event| fill(event, number)).is_ok()
        } else {
            let published = self.0.try_batch_publish(count, |events| {
                events.enumerate().for_each(|(offset, event)| fill(event, number + offset as u64));
            });
            published.is_ok()
        };
        if published { count } else { 0 }
    }
}

impl<const N: usize> Receiver for Polling<N> {
    #[inline(always)]
    fn receive(&mut self, number: u64, count: usize) -> usize {
        let Ok(mut events) = self.0.take(count as u64) else { return 0 };
        let mut received = 0;
        for event in &mut events {
            check(event, number + received as u64);
            received += 1;
        }
        received
    }
}

/// kanal's bounded channel.
pub fn kanal<const N: usize>() -> (kanal::Sender<[u8; N]>, kanal::Receiver<[u8; N]>) {
    kanal::bounded(places(N))
}

/// flume's bounded channel.
pub fn flume<const N: usize>() -> (flume::Sender<[u8; N]>, flume::Receiver<[u8; N]>) {
    flume::bounded(places(N))
}

/// tokio's bounded channel.
pub fn tokio<const N: usize>() -> (mpsc::Sender<[u8; N]>, mpsc::Receiver<[u8; N]>) {
    mpsc::channel(places(N))
}

macro_rules! by_value {
    ($sender:ty, $receiver:ty, $sent:pat, $received:pat => $message:ident) => {
        impl<const N: usize> Sender for $sender {
            #[inline(always)]
            fn send(&mut self, number: u64, count: usize) -> usize {
                (0..count)
                    .take_while(|sent| matches!(self.try_send(message(number + *sent as u64)), $sent))
                    .count()
            }
        }

        impl<const N: usize> Receiver for $receiver {
            #[inline(always)]
            fn receive(&mut self, number: u64, count: usize) -> usize {
                for received in 0..count {
                    let $received = self.try_recv() else { return received };
                    check(&$message, number + received as u64);
                }
                count
            }
        }
    };
}

by_value!(kanal::Sender<[u8; N]>, kanal::Receiver<[u8; N]>, Ok(true), Ok(Some(message)) => message);
by_value!(flume::Sender<[u8; N]>, flume::Receiver<[u8; N]>, Ok(()), Ok(message) => message);
by_value!(mpsc::Sender<[u8; N]>, mpsc::Receiver<[u8; N]>, Ok(()), Ok(message) => message);
