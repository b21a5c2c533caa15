//! A ring over memory and bells that came through a channel: what two processes have between them, in both arms.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use synod_platform::local::{Access, Listener, Receiver, Sender, connect};
use synod_platform::memory::{self, Bell, ForeignRegion, SharedRegion};
use synod_platform::task::{self, Context};
use synod_platform::testing::run;
use synod_ring::layout::{RECEIVER_LEN, sender_len};
use synod_ring::spsc::ForeignConsumer;
use synod_ring::{ClaimError, Consumer, Hardware, LayoutError, Producer, Waiter};

const CAPACITY: usize = 4096;
const MESSAGES: u64 = 20_000;

/// Gives the peer the own region and bell, takes its.
async fn exchange(
    (sender, receiver): &mut (Sender, Receiver),
    own: &SharedRegion,
    bell: &Bell,
    len: usize,
) -> (ForeignRegion, Arc<dyn Waiter>) {
    sender.send(b"ours", vec![own.handle().unwrap(), bell.handle().unwrap()]).await.unwrap();
    let (_, mut handles) = receiver.recv().await.unwrap().unwrap();
    let ringer = memory::ringer(handles.pop().unwrap()).unwrap();
    (memory::open(handles.pop().unwrap(), len).unwrap(), Arc::new(ringer))
}

/// The writing end, and the bell that is rung when there is room.
async fn producer(channel: &mut (Sender, Receiver)) -> (Producer, Bell) {
    let (own, bell) = (memory::shared(sender_len(CAPACITY)).unwrap(), Bell::new().unwrap());
    let (peer, ringer) = exchange(channel, &own, &bell, RECEIVER_LEN).await;
    (Producer::over(Hardware::new(own), Hardware::new(peer), Some(ringer)).unwrap(), bell)
}

/// The reading end, and the bell that is rung when there is something.
async fn consumer(channel: &mut (Sender, Receiver)) -> (ForeignConsumer, Bell) {
    let (own, bell) = (memory::shared(RECEIVER_LEN).unwrap(), Bell::new().unwrap());
    let (peer, ringer) = exchange(channel, &own, &bell, sender_len(CAPACITY)).await;
    (ForeignConsumer::over(Hardware::new(own), Hardware::new(peer), Some(ringer)).unwrap(), bell)
}

async fn write(path: &Path) {
    let mut channel = connect(path).await.unwrap().split();
    let (mut producer, bell) = producer(&mut channel).await;
    for number in 0..MESSAGES {
        while let Err(error) = producer.push([0; 4], &number.to_le_bytes()) {
            assert_eq!(error, ClaimError::Full);
            producer.publish();
            if producer.fall_asleep(8).unwrap() {
                bell.rung().await;
                producer.wake_up();
            }
        }
        if number % 64 == 0 {
            producer.publish();
            task::yield_now().await;
        }
    }
    producer.publish();
}

#[test]
fn messages_cross_a_lane_between_two_sleepers_in_order_until_the_sender_is_gone() {
    run(1, || async {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("node.sock");
        let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
        let writing = Context::start("writes", None, move || async move { write(&path).await }).unwrap();
        let mut channel = listener.accept().await.unwrap().split();
        let (mut consumer, bell) = consumer(&mut channel).await;
        let (mut next, mut payload) = (0u64, Vec::new());
        loop {
            if let Some(peeked) = consumer.peek().unwrap() {
                payload.clear();
                peeked.record().copy_to(&mut payload);
                assert_eq!(payload, next.to_le_bytes());
                next += 1;
                peeked.free();
            } else if consumer.ended().unwrap() {
                break;
            } else if consumer.fall_asleep().unwrap() {
                bell.rung().await;
            }
        }
        assert_eq!(next, MESSAGES);
        writing.join().await.unwrap();
    });
}

#[test]
fn a_ring_over_foreign_memory_neither_stores_into_it_nor_reads_it_in_place() {
    run(2, || async {
        let (own, peer) =
            (memory::shared(RECEIVER_LEN).unwrap(), memory::shared(sender_len(CAPACITY)).unwrap());
        let foreign =
            |region: &SharedRegion, len| Hardware::new(memory::open(region.handle().unwrap(), len).unwrap());
        let trusting = Consumer::over(Hardware::new(own), foreign(&peer, sender_len(CAPACITY)), None);
        assert_eq!(trusting.err(), Some(LayoutError::Foreign));
        let own = memory::shared(RECEIVER_LEN).unwrap();
        let storing = ForeignConsumer::over(foreign(&own, RECEIVER_LEN), Hardware::new(peer), None);
        assert!(storing.is_err());
    });
}

#[cfg(madsim)]
#[test]
fn a_sender_killed_before_it_publishes_leaves_what_it_published_and_no_more() {
    use synod_platform::simulation::{self, Node};
    use synod_platform::time::{Duration, sleep};

    const PATH: &str = "/run/synod.sock";
    simulation::run(3, Duration::from_secs(60), || async {
        let mut listener = Listener::bind(Path::new(PATH), Access::Owner).await.unwrap();
        let node = Node::create("writer", [10, 0, 0, 1].into(), || async {
            let mut channel = connect(Path::new(PATH)).await.unwrap().split();
            let (mut producer, _bell) = producer(&mut channel).await;
            for number in 0..10u8 {
                producer.push([0; 4], &[number]).unwrap();
            }
            producer.publish();
            // Its destructor would publish this one, and say goodbye.
            producer.push([0; 4], &[10]).unwrap();
            std::future::pending::<()>().await;
        });
        let mut channel = listener.accept().await.unwrap().split();
        let (mut consumer, _bell) = consumer(&mut channel).await;
        sleep(Duration::from_millis(1)).await;
        node.kill();
        assert!(channel.1.recv().await.unwrap().is_none(), "the channel tells the death");
        sleep(Duration::from_millis(1)).await;
        for number in 0..10 {
            let mut payload = Vec::new();
            let peeked = consumer.peek().unwrap().unwrap();
            peeked.record().copy_to(&mut payload);
            assert_eq!(payload, [number]);
            peeked.free();
        }
        assert!(consumer.peek().unwrap().is_none());
        assert!(!consumer.ended().unwrap());
    })
    .unwrap();
}
