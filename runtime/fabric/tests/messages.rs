//! Publishing, inside one context and between two: what arrives, in which order, and what a sender is told when it does not.

mod common;

use std::time::Duration;

use common::{beside, fabric, run, second};
use synod_fabric::{
    AttachError, Counts, Fabric, FabricConfig, PAYLOAD_MAX, Payload, Priority, PublishError, Refusal,
};
use synod_platform::{task, time};
use synod_probe::loss;

#[test]
fn a_message_reaches_every_subscriber_whose_pattern_matches_and_no_other() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let (a, b, c) = (here.agent("a").unwrap(), here.agent("b").unwrap(), here.agent("c").unwrap());
        let mut exact = a.subscribe("orders.eu", 4).await.unwrap();
        let mut wild = b.subscribe("orders.*", 4).await.unwrap();
        let mut other = c.subscribe("orders.us.>", 4).await.unwrap();
        let receipt = c.publish("orders.eu", Priority::Normal, "one").unwrap();
        assert_eq!(receipt.accepted().collect::<Vec<_>>(), ["a", "b"]);
        let message = exact.recv().await.unwrap();
        assert_eq!(
            (&**message.payload(), message.source(), message.subject().as_str()),
            (&b"one"[..], "c", "orders.eu")
        );
        assert_eq!(wild.try_recv().unwrap().priority(), Priority::Normal);
        assert!(other.try_recv().is_none());
    });
}

#[test]
fn a_subject_nobody_subscribes_to_takes_nothing_and_says_so() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let receipt = here.agent("a").unwrap().publish("void", Priority::High, "x").unwrap();
        assert_eq!((receipt.accepted_count(), receipt.refused().len()), (0, 0));
    });
}

#[test]
fn every_publish_after_subscribe_returned_is_seen_also_by_cached_routes() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let sender = here.agent("sender").unwrap();
        let publisher = sender.publisher("news").unwrap();
        assert_eq!(publisher.publish(Priority::Normal, b"0").unwrap().accepted_count(), 0);
        let receiver = here.agent("receiver").unwrap();
        let mut subscription = receiver.subscribe("news", 4).await.unwrap();
        assert_eq!(publisher.publish(Priority::Normal, b"1").unwrap().accepted_count(), 1);
        assert_eq!(&**subscription.recv().await.unwrap().payload(), b"1");
        drop(subscription);
        assert_eq!(publisher.publish(Priority::Normal, b"2").unwrap().accepted_count(), 0);
    });
}

#[test]
fn a_full_queue_is_told_to_the_sender_and_only_for_that_priority() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let (sender, receiver) = (here.agent("sender").unwrap(), here.agent("receiver").unwrap());
        let mut subscription = receiver.subscribe("work", 2).await.unwrap();
        for _ in 0..2 {
            assert_eq!(sender.publish("work", Priority::Low, "x").unwrap().accepted_count(), 1);
        }
        let Err(PublishError::WouldBlock(receipt)) = sender.publish("work", Priority::Low, "x") else {
            panic!("it was full")
        };
        assert_eq!(receipt.refused(), [("receiver", Refusal::QueueFull)]);
        assert!(sender.publish("work", Priority::High, "x").is_ok());
        subscription.recv().await.unwrap();
        subscription.recv().await.unwrap();
        assert!(sender.publish("work", Priority::Low, "x").is_ok());
    });
}

#[test]
fn fan_out_is_not_atomic_and_the_receipt_says_who_took_it() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let (small, large) = (here.agent("small").unwrap(), here.agent("large").unwrap());
        let _one = small.subscribe("all", 1).await.unwrap();
        let _two = large.subscribe("all", 9).await.unwrap();
        let sender = here.agent("sender").unwrap();
        let _ = sender.publish("all", Priority::Normal, "x").unwrap();
        let receipt = sender.publish("all", Priority::Normal, "y").unwrap();
        assert_eq!(receipt.accepted().collect::<Vec<_>>(), ["large"]);
        assert_eq!(receipt.refused(), [("small", Refusal::QueueFull)]);
    });
}

#[test]
fn a_waiting_publish_goes_on_when_the_receiver_makes_room_and_ends_at_its_deadline() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let (sender, receiver) = (here.agent("sender").unwrap(), here.agent("receiver").unwrap());
        let mut subscription = receiver.subscribe("work", 1).await.unwrap();
        let second = Duration::from_secs(1);
        let receipt = sender.publish_wait("work", Priority::Normal, "1", second).await.unwrap();
        assert_eq!(receipt.accepted_count(), 1);
        let waiting = task::spawn(async move {
            let sent = sender.publish_wait("work", Priority::Normal, "2", second).await;
            (sender, sent.map(|receipt| receipt.accepted_count()))
        });
        task::yield_now().await;
        assert_eq!(&**subscription.recv().await.unwrap().payload(), b"1");
        let (sender, sent) = waiting.await.unwrap();
        assert_eq!(sent, Ok(1));
        let started = time::now();
        let short = Duration::from_millis(20);
        let late = sender.publish_wait("work", Priority::Normal, "3", short).await;
        assert!(matches!(late, Err(PublishError::DeadlinePassed(_))), "{late:?}");
        assert!(time::now().since(started) >= short);
        assert_eq!(&**subscription.recv().await.unwrap().payload(), b"2");
        assert!(subscription.try_recv().is_none());
    });
}

#[test]
fn what_nobody_wants_any_more_is_never_delivered_and_counted() {
    run(|| async {
        let fabric = fabric();
        let here = fabric.enter("here").unwrap();
        let (sender, receiver) = (here.agent("sender").unwrap(), here.agent("receiver").unwrap());
        let mut subscription = receiver.subscribe("ticks", 4).await.unwrap();
        let publisher = sender.publisher("ticks").unwrap();
        let soon = time::now() + Duration::from_millis(5);
        assert!(publisher.publish_by(Priority::Normal, &"old".into(), Some(soon)).is_ok());
        assert!(publisher.publish(Priority::Normal, b"lasting").is_ok());
        time::sleep_until(soon).await;
        assert_eq!(&**subscription.recv().await.unwrap().payload(), b"lasting");
        let counts = fabric.snapshot().totals();
        assert_eq!((counts.accepted, counts.delivered, counts.expired, counts.waiting()), (2, 1, 1, 0));
        assert!(loss::snapshot().iter().any(|loss| loss.reason == "the deadline had passed"));
    });
}

#[test]
fn a_dropped_subscription_counts_what_waited_in_it_as_lost() {
    run(|| async {
        let fabric = fabric();
        let here = fabric.enter("here").unwrap();
        let (sender, receiver) = (here.agent("sender").unwrap(), here.agent("receiver").unwrap());
        let mut subscription = receiver.subscribe("work", 8).await.unwrap();
        for _ in 0..5 {
            let _ = sender.publish("work", Priority::Normal, "x").unwrap();
        }
        subscription.recv().await.unwrap();
        drop(subscription);
        let Counts { accepted, delivered, lost, .. } = fabric.snapshot().totals();
        assert_eq!((accepted, delivered, lost), (5, 1, 4));
    });
}

#[test]
fn names_are_unique_while_their_holders_live() {
    run(|| async {
        let fabric = fabric();
        let here = fabric.enter("here").unwrap();
        assert_eq!(fabric.enter("here").unwrap_err(), AttachError::NameTaken("here".into()));
        let agent = here.agent("scout").unwrap();
        assert_eq!(here.agent("scout").unwrap_err(), AttachError::NameTaken("scout".into()));
        let subscription = agent.subscribe("x", 1).await.unwrap();
        drop(agent);
        assert!(here.agent("scout").is_err());
        drop(subscription);
        assert!(here.agent("scout").is_ok());
    });
}

#[test]
fn between_contexts_everything_arrives_in_order_for_each_priority() {
    run(|| async {
        let fabric = fabric();
        let (there, received) = beside(&fabric, |context| async move {
            let agent = context.agent("receiver").unwrap();
            let subscription = agent.subscribe("numbers.>", 500).await.unwrap();
            (subscription, |mut subscription: synod_fabric::Subscription| async move {
                let mut got = Vec::new();
                while got.len() < 3000 {
                    let message = subscription.recv().await.unwrap();
                    let number = u32::from_le_bytes(message.payload()[..4].try_into().unwrap());
                    got.push((message.priority(), number));
                }
                got
            })
        })
        .await;
        let here = fabric.enter("here").unwrap();
        let sender = here.agent("sender").unwrap();
        let publisher = sender.publisher("numbers.all").unwrap();
        for n in 0u32..3000 {
            let priority = Priority::ALL[n as usize % 6];
            let payload = n.to_le_bytes().repeat(1 + n as usize % 40);
            let receipt = publisher.publish_wait(priority, payload, second(10)).await.unwrap();
            assert_eq!(receipt.accepted_count(), 1);
        }
        let got = received.await.unwrap();
        there.join().await.unwrap();
        for priority in Priority::ALL {
            let numbers: Vec<_> = got.iter().filter(|(p, _)| *p == priority).map(|(_, n)| *n).collect();
            let expected: Vec<_> = (0..3000).filter(|n| Priority::ALL[*n as usize % 6] == priority).collect();
            assert_eq!(numbers, expected);
        }
    });
}

#[test]
fn payloads_from_nothing_to_sixteen_mebibytes_arrive_whole_and_in_order() {
    run(|| async {
        let fabric = fabric();
        let (there, received) = beside(&fabric, |context| async move {
            let agent = context.agent("receiver").unwrap();
            let subscription = agent.subscribe("blobs", 64).await.unwrap();
            (subscription, |mut subscription: synod_fabric::Subscription| async move {
                let mut got = Vec::new();
                for _ in 0..9 {
                    let mut message = subscription.recv().await.unwrap();
                    got.push(message.take_payload().into_bytes());
                }
                got
            })
        })
        .await;
        let here = fabric.enter("here").unwrap();
        let sender = here.agent("sender").unwrap();
        let mut local = here.agent("local").unwrap().subscribe("blobs", 64).await.unwrap();
        let sizes = [0, 1, 62, 63, 64, 2032, 2033, 70_000, PAYLOAD_MAX];
        let blob = |size: usize| (0..size).map(|i| (i % 251) as u8).collect::<Vec<u8>>();
        for size in sizes {
            let receipt =
                sender.publish_wait("blobs", Priority::Batch, blob(size), second(10)).await.unwrap();
            assert_eq!(receipt.accepted_count(), 2);
        }
        let too_large = sender.publish("blobs", Priority::Batch, vec![0; PAYLOAD_MAX + 1]);
        assert_eq!(too_large, Err(PublishError::TooLarge { len: PAYLOAD_MAX + 1, max: PAYLOAD_MAX }));
        let got = received.await.unwrap();
        there.join().await.unwrap();
        for (size, payload) in sizes.into_iter().zip(got) {
            assert!(payload == blob(size), "{size}");
            assert!(local.recv().await.unwrap().payload().as_ref() == blob(size), "{size}");
        }
    });
}

#[test]
fn a_shared_payload_is_not_copied_for_local_receivers() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let agent = here.agent("a").unwrap();
        let mut subscription = agent.subscribe("big", 1).await.unwrap();
        let bytes = bytes::Bytes::from(vec![7; 100_000]);
        let _ = agent.publish("big", Priority::Normal, Payload::from(bytes.clone())).unwrap();
        let received = subscription.recv().await.unwrap().take_payload().into_bytes();
        assert_eq!(received.as_ptr(), bytes.as_ptr());
    });
}

#[test]
fn a_context_that_ends_with_messages_on_its_lanes_loses_none_silently() {
    run(|| async {
        let fabric = fabric();
        let (there, ended) = beside(&fabric, |context| async move {
            let agent = context.agent("short-lived").unwrap();
            (
                agent.subscribe("work", 1000).await.unwrap(),
                |mut subscription: synod_fabric::Subscription| async move {
                    subscription.recv().await.unwrap();
                },
            )
        })
        .await;
        let here = fabric.enter("here").unwrap();
        let sender = here.agent("sender").unwrap();
        let publisher = sender.publisher("work").unwrap();
        let mut accepted = 0;
        for _ in 0..100 {
            if let Ok(receipt) = publisher.publish(Priority::Normal, b"x") {
                accepted += receipt.accepted_count() as u64;
            }
        }
        ended.await.unwrap();
        there.join().await.unwrap();
        assert_eq!(publisher.publish(Priority::Normal, b"x").unwrap().accepted_count(), 0);
        drop((publisher, sender, here));
        task::yield_now().await;
        let counts = fabric.snapshot().totals();
        assert_eq!((counts.accepted, counts.delivered + counts.lost), (accepted, accepted), "{counts:?}");
        assert!(counts.delivered >= 1);
    });
}

#[test]
fn a_draining_fabric_delivers_what_it_accepted_and_takes_nothing_new() {
    run(|| async {
        let fabric = Fabric::new(FabricConfig::named("n"));
        let here = fabric.enter("here").unwrap();
        let (sender, receiver) = (here.agent("sender").unwrap(), here.agent("receiver").unwrap());
        let mut subscription = receiver.subscribe("work", 8).await.unwrap();
        let _ = sender.publish("work", Priority::Normal, "last").unwrap();
        fabric.drain();
        task::yield_now().await;
        assert_eq!(sender.publish("work", Priority::Normal, "late").unwrap().accepted_count(), 0);
        assert_eq!(&**subscription.recv().await.unwrap().payload(), b"last");
        assert!(subscription.recv().await.is_none());
    });
}

#[test]
fn payloads_published_in_a_row_arrive_in_order_until_somebody_refuses_one() {
    run(|| async {
        let fabric = fabric();
        let (here, there) = (fabric.enter("here").unwrap(), fabric.enter("there").unwrap());
        let mut far = there.agent("far").unwrap().subscribe("work", 40).await.unwrap();
        let mut near = here.agent("near").unwrap().subscribe("work", 100).await.unwrap();
        let sender = here.agent("sender").unwrap();
        let publisher = sender.publisher("work").unwrap();
        let payloads: Vec<_> = (0..50u8).map(|n| [n; 9]).collect();
        let published = publisher.publish_all(Priority::Normal, payloads.iter().map(|p| &p[..]));
        assert_eq!(published.taken, 40, "{published:?}");
        let Some(Ok(next)) = published.stopped else { panic!("{published:?}") };
        assert_eq!(next.accepted().collect::<Vec<_>>(), ["near"]);
        assert_eq!(next.refused(), [("far", Refusal::QueueFull)]);
        for payload in &payloads[..40] {
            assert_eq!(&**far.recv().await.unwrap().payload(), payload);
        }
        for payload in &payloads[..41] {
            assert_eq!(&**near.recv().await.unwrap().payload(), payload);
        }
        assert!(far.try_recv().is_none() && near.try_recv().is_none());
        let long = vec![0; PAYLOAD_MAX + 1];
        let published = publisher.publish_all(Priority::Low, [&b"fits"[..], &long, b"after it"]);
        let too_large = PublishError::TooLarge { len: long.len(), max: PAYLOAD_MAX };
        assert_eq!((published.taken, published.stopped), (1, Some(Err(too_large))));
        assert_eq!(&**far.recv().await.unwrap().payload(), b"fits");
    });
}

#[test]
fn a_row_longer_than_the_lane_stops_where_it_is_full_and_what_went_can_be_taken() {
    run(|| async {
        let fabric = fabric();
        let (here, there) = (fabric.enter("here").unwrap(), fabric.enter("there").unwrap());
        let mut far = there.agent("far").unwrap().subscribe("work", 4096).await.unwrap();
        let publisher = here.agent("sender").unwrap().publisher("work").unwrap();
        let (payload, mut sent, mut received) = ([7; 100], 0, 0);
        while sent < 2000 {
            let published = publisher.publish_all(Priority::Low, (sent..2000).map(|_| &payload[..]));
            sent += published.taken;
            let Some(stopped) = published.stopped else { continue };
            let Err(PublishError::WouldBlock(receipt)) = stopped else { panic!("{stopped:?}") };
            assert_eq!(receipt.refused(), [("far", Refusal::LaneFull)]);
            while far.try_recv().is_some() {
                received += 1;
            }
            assert_eq!(received, sent, "what was taken is on the lane for all to see");
        }
        while far.try_recv().is_some() {
            received += 1;
        }
        assert_eq!(received, 2000);
    });
}

#[test]
fn who_looks_without_waiting_sees_what_is_on_the_lane_and_is_woken_as_ever_after_it() {
    run(|| async {
        let fabric = fabric();
        let (here, there) = (fabric.enter("here").unwrap(), fabric.enter("there").unwrap());
        let mut far = there.agent("far").unwrap().subscribe("work", 4).await.unwrap();
        let sender = here.agent("sender").unwrap();
        for _ in 0..3 {
            assert!(far.try_recv().is_none());
            let _ = sender.publish("work", Priority::Normal, "now").unwrap();
            assert!(far.try_recv().is_some(), "no other task had a turn");
            for _ in 0..8 {
                task::yield_now().await;
            }
            assert!(far.try_recv().is_none(), "a sleeper looks");
            let sending = async {
                time::sleep(Duration::from_millis(1)).await;
                let _ = sender.publish("work", Priority::Normal, "later").unwrap();
            };
            let (message, ()) = futures_util::join!(time::timeout(second(1), far.recv()), sending);
            assert!(message.unwrap().is_some());
        }
    });
}

#[test]
fn a_sender_that_waits_is_woken_for_an_eighth_of_the_places_and_takes_the_last_one_at_its_deadline() {
    run(|| async {
        let fabric = fabric();
        let (here, there) = (fabric.enter("here").unwrap(), fabric.enter("there").unwrap());
        let mut far = there.agent("far").unwrap().subscribe("work", 64).await.unwrap();
        let sender = here.agent("sender").unwrap();
        for _ in 0..64 {
            let _ = sender.publish("work", Priority::Low, "x").unwrap();
        }
        let waiting = {
            let sender = sender.clone();
            task::spawn(async move { sender.publish_wait("work", Priority::Low, "x", second(3600)).await })
        };
        let look = Duration::from_millis(2);
        for _ in 0..7 {
            far.recv().await.unwrap();
            time::sleep(look).await;
            assert!(!waiting.is_finished(), "seven places are not worth a wake-up");
        }
        far.recv().await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().accepted_count(), 1);
        for _ in 0..7 {
            let _ = sender.publish("work", Priority::Low, "x").unwrap();
        }
        let patience = 5 * look;
        let waiting = task::spawn(async move {
            let first = sender.publish_wait("work", Priority::Low, "x", patience).await;
            (first, sender.publish_wait("work", Priority::Low, "x", patience).await)
        });
        time::sleep(look).await;
        far.recv().await.unwrap();
        let (first, second) = waiting.await.unwrap();
        assert_eq!(first.unwrap().accepted_count(), 1, "there was a place when its time was up");
        assert!(matches!(second, Err(PublishError::DeadlinePassed(_))), "{second:?}");
    });
}
