//! BACKGROUND messages between processes wait in files: for receivers that come back, through the end of senders and nodes.
//!
//! Each "process" is a fabric of its own, as in `attach.rs`; what only the death of a true one shows stands in `client/tests/processes`.

use std::path::PathBuf;
use std::time::Duration;

use synod_fabric::attach::{AttachOptions, Attachment, Host, HostConfig, attach};
use synod_fabric::{
    Agent, Context, Fabric, FabricConfig, Message, Priority, PublishError, Refusal, Subject, Subscription,
};
use synod_platform::{queue, task, testing, time};

const SOON: Duration = Duration::from_secs(5);
const LATER: Priority = Priority::Background;

/// A place for a socket and its spools, which goes with the value.
struct Place {
    socket: PathBuf,
    #[cfg(not(madsim))]
    _folder: tempfile::TempDir,
}

fn place() -> Place {
    #[cfg(not(madsim))]
    {
        let folder = tempfile::tempdir().unwrap();
        Place { socket: folder.path().join("node.attach"), _folder: folder }
    }
    #[cfg(madsim)]
    Place { socket: "/run/synod/node.attach".into() }
}

impl Place {
    async fn node(&self) -> (Host, Context) {
        let context = Fabric::new(FabricConfig::named("node")).enter("main").unwrap();
        (self.host(&context).await, context)
    }

    async fn host(&self, context: &Context) -> Host {
        loop {
            // The socket is in use until the last node's listener has ended.
            match Host::start(context, HostConfig::at(&self.socket)).await {
                Ok(host) => return host,
                Err(_) => task::yield_now().await,
            }
        }
    }

    async fn process(&self, name: &str) -> Process {
        let attachment = attach(AttachOptions::new(&self.socket, name)).await.unwrap();
        let context = attachment.fabric().enter("main").unwrap();
        let agent = loop {
            // Its name is taken until the node knows of the end of who had it.
            match context.join(name).await {
                Ok(agent) => break agent,
                Err(_) => time::sleep(Duration::from_millis(1)).await,
            }
        };
        Process { attachment, agent }
    }

    async fn files(&self) -> Vec<String> {
        queue::list(&self.socket.with_extension("spools")).await.unwrap()
    }
}

struct Process {
    attachment: Attachment,
    agent: Agent,
}

async fn send(agent: &Agent, subject: &str, payload: &str) {
    let receipt = agent.publish_wait(subject, LATER, payload, SOON).await.unwrap();
    assert_eq!(receipt.accepted_count(), 1, "{receipt:?}");
}

async fn next(news: &mut Subscription) -> Message {
    time::timeout(SOON, news.recv()).await.expect("it comes").expect("the fabric lives")
}

fn text(message: &Message) -> String {
    String::from_utf8(message.payload().to_vec()).unwrap()
}

async fn is_silent(news: &mut Subscription) -> bool {
    time::timeout(Duration::from_millis(100), news.recv()).await.is_err()
}

#[test]
fn background_messages_come_in_order_and_wake_who_waits_for_them() {
    testing::run(1, || async {
        let place = place();
        let _node = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let mut news = ben.agent.subscribe("news.*", 4).await.unwrap();
        send(&ada.agent, "news.first", "0").await;
        assert_eq!(place.files().await, ["ben~news.*~ada.queue"]);
        assert_eq!(text(&next(&mut news).await), "0");
        for number in 1..100 {
            let waits = task::spawn(async move {
                let message = next(&mut news).await;
                (message, news)
            });
            // It sleeps by now.
            time::sleep(Duration::from_millis(2)).await;
            let sent = time::now();
            send(&ada.agent, &format!("news.{number}"), &number.to_string()).await;
            let message;
            (message, news) = waits.await.unwrap();
            assert!(time::now() - sent < queue::PAUSE_MAX, "a bell was rung");
            assert_eq!((message.source(), message.priority()), ("ada", LATER));
            assert_eq!(message.subject().as_str(), format!("news.{number}"));
            assert_eq!(text(&message), number.to_string());
        }
        let counts = ben.attachment.fabric().snapshot().totals();
        assert_eq!((counts.accepted, counts.delivered, counts.lost), (100, 100, 0));
    });
}

#[test]
fn what_waits_is_there_for_a_receiver_that_comes_back_from_where_it_was() {
    testing::run(2, || async {
        let place = place();
        let _node = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        for number in 0..5 {
            send(&ada.agent, "news", &number.to_string()).await;
        }
        let in_hand = [next(&mut news).await, next(&mut news).await];
        assert_eq!(in_hand.each_ref().map(text), ["0", "1"]);
        // Its end is orderly: what it had is done with.
        drop((in_hand, news, ben));
        let ben = place.process("ben").await;
        let mut elsewhere = ben.agent.subscribe("other", 4).await.unwrap();
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        for number in 2..5 {
            assert_eq!(text(&next(&mut news).await), number.to_string());
        }
        send(&ada.agent, "news", "more").await;
        assert_eq!(text(&next(&mut news).await), "more");
        assert!(is_silent(&mut news).await && is_silent(&mut elsewhere).await);
    });
}

#[test]
fn what_waits_outlives_its_sender_and_the_node_and_leaves_nothing_behind_when_it_is_read() {
    testing::run(3, || async {
        let place = place();
        let node = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let news = ben.agent.subscribe("news", 4).await.unwrap();
        for number in 0..50 {
            send(&ada.agent, "news", &number.to_string()).await;
        }
        drop((news, ben, ada, node));
        assert_eq!(place.files().await.len(), 1);
        let node = place.node().await;
        let ben = place.process("ben").await;
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        for number in 0..50 {
            let message = next(&mut news).await;
            assert_eq!((message.source(), text(&message)), ("ada", number.to_string()));
        }
        drop((news, ben, node));
        let _node = place.node().await;
        while !place.files().await.is_empty() {
            time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_node_has_what_waited_for_its_own_agents() {
    testing::run(4, || async {
        let place = place();
        let (host, context) = place.node().await;
        let ada = place.process("ada").await;
        let clerk = context.agent("clerk").unwrap();
        let news = clerk.subscribe("news", 4).await.unwrap();
        for number in 0..5 {
            send(&ada.agent, "news", &number.to_string()).await;
        }
        drop((news, clerk, host, context, ada));
        // This time they subscribe before anybody can attach.
        let context = Fabric::new(FabricConfig::named("node")).enter("main").unwrap();
        let clerk = context.agent("clerk").unwrap();
        let mut news = clerk.subscribe("news", 4).await.unwrap();
        let _host = place.host(&context).await;
        for number in 0..5 {
            assert_eq!(text(&next(&mut news).await), number.to_string());
        }
        let ben = place.process("ben").await;
        let mut orders = ben.agent.subscribe("orders", 4).await.unwrap();
        send(&clerk, "orders", "x").await;
        assert_eq!((next(&mut orders).await).source(), "clerk");
    });
}

#[test]
fn a_full_spool_is_told_and_who_waits_goes_on_when_there_is_room() {
    testing::run(5, || async {
        let place = place();
        let _node = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        let large = "x".repeat(100_000);
        send(&ada.agent, "news", &large).await;
        let mut sent = 1;
        let full = loop {
            match ada.agent.publish("news", LATER, large.as_str()) {
                Ok(_) => sent += 1,
                Err(PublishError::WouldBlock(receipt)) => break receipt,
                Err(why) => panic!("{why}"),
            }
        };
        assert_eq!(full.refused(), [("ben", Refusal::LaneFull)]);
        assert_eq!(sent, 10, "a MiB");
        let normal = ada.agent.publish_wait("news", Priority::Normal, "now", SOON).await.unwrap();
        assert_eq!(normal.accepted_count(), 1, "others are not held up");
        let agent = ada.agent.clone();
        let waits = task::spawn(async move { send(&agent, "news", &large).await });
        let mut came = 0;
        while came < sent + 2 {
            next(&mut news).await;
            came += 1;
        }
        waits.await.unwrap();
        assert!(is_silent(&mut news).await);
        let endless = vec![0; 1 << 20];
        let refused = ada.agent.publish("news", LATER, endless).unwrap_err();
        let PublishError::Unreachable(receipt) = refused else { panic!("{refused}") };
        assert_eq!(receipt.refused(), [("ben", Refusal::TooLong)]);
    });
}

#[test]
fn what_a_sender_may_not_say_any_more_is_not_delivered_out_of_a_spool_either() {
    testing::run(6, || async {
        let place = place();
        let (host, _context) = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let mut news = ben.agent.subscribe("news.*", 4).await.unwrap();
        for (subject, payload) in [("news.a", "0"), ("news.b", "1"), ("news.a", "2"), ("news.b", "3")] {
            send(&ada.agent, subject, payload).await;
        }
        assert_eq!(text(&next(&mut news).await), "0");
        host.revoke("ada", &Subject::new("news.a").unwrap()).await;
        assert_eq!(text(&next(&mut news).await), "1");
        let refused = ada.agent.publish_wait("news.a", LATER, "4", SOON).await;
        assert!(matches!(refused, Err(PublishError::Unreachable(_))), "{refused:?}");
        // Who comes back is told before it reads.
        drop((news, ben));
        let ben = place.process("ben").await;
        let mut news = ben.agent.subscribe("news.*", 4).await.unwrap();
        assert_eq!(text(&next(&mut news).await), "3");
        assert!(is_silent(&mut news).await);
    });
}

#[test]
fn a_message_whose_time_is_over_before_it_is_read_is_not_delivered() {
    testing::run(7, || async {
        let place = place();
        let _node = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        send(&ada.agent, "news", "0").await;
        let publisher = ada.agent.publisher("news").unwrap();
        let soon = time::now() + Duration::from_millis(20);
        let late = publisher.publish_by(LATER, &"late".into(), Some(soon)).unwrap();
        let timely = publisher.publish(LATER, b"1").unwrap();
        assert_eq!((late.accepted_count(), timely.accepted_count()), (1, 1));
        time::sleep(Duration::from_millis(40)).await;
        assert_eq!(text(&next(&mut news).await), "0");
        assert_eq!(text(&next(&mut news).await), "1");
        let counts = ben.attachment.fabric().snapshot().totals();
        assert_eq!((counts.accepted, counts.delivered, counts.expired), (3, 2, 1));
    });
}

#[cfg(not(madsim))]
#[test]
fn a_folder_that_others_may_write_to_holds_no_spool() {
    use std::os::unix::fs::PermissionsExt;
    testing::run(10, || async {
        let place = place();
        let _node = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let news = ben.agent.subscribe("news", 4).await.unwrap();
        send(&ada.agent, "news", "0").await;
        drop((ada, news));
        let folder = place.socket.with_extension("spools");
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        assert!(is_silent(&mut news).await, "what lies there may be anybody's");
        let ada = place.process("ada").await;
        let refused = ada.agent.publish_wait("news", LATER, "1", SOON).await.unwrap_err();
        let PublishError::WouldBlock(receipt) = refused else { panic!("{refused}") };
        assert_eq!(receipt.refused(), [("ben", Refusal::NotKept)]);
    });
}

#[cfg(not(madsim))]
#[test]
#[expect(clippy::disallowed_types, reason = "whoever scribbles is another program")]
fn a_spool_that_somebody_scribbled_over_is_set_aside_and_another_takes_its_place() {
    use std::io::{Seek, SeekFrom, Write};
    testing::run(9, || async {
        let place = place();
        let _node = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        for number in 0..3 {
            send(&ada.agent, "news", &number.to_string()).await;
        }
        let path = place.socket.with_extension("spools").join("ben~news~ada.queue");
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(384)).unwrap();
        file.write_all(&[0xff; 4096]).unwrap();
        let mut number = 3;
        let came = loop {
            // What was accepted before the damage was seen went with it.
            let sent = ada.agent.publish_wait("news", LATER, number.to_string(), SOON).await;
            number += u32::from(sent.is_ok());
            if let Ok(message) = time::timeout(Duration::from_millis(10), news.recv()).await {
                let came: u32 = text(&message.unwrap()).parse().unwrap();
                // One may have been read by then.
                if came > 0 {
                    break came;
                }
            }
        };
        assert!(came >= 3, "{came} was scribbled over");
        assert_eq!(place.files().await, ["ben~news~ada.queue", "ben~news~ada.queue.damaged"]);
    });
}

#[test]
fn of_two_subscriptions_alike_each_gets_everything() {
    testing::run(8, || async {
        let place = place();
        let _node = place.node().await;
        let (ada, ben) = (place.process("ada").await, place.process("ben").await);
        let mut both =
            [ben.agent.subscribe("news", 4).await.unwrap(), ben.agent.subscribe("news", 4).await.unwrap()];
        for number in 0..4 {
            let receipt = ada.agent.publish_wait("news", LATER, number.to_string(), SOON).await.unwrap();
            assert_eq!(receipt.accepted_count(), 2);
        }
        for news in &mut both {
            for number in 0..4 {
                assert_eq!(text(&next(news).await), number.to_string());
            }
        }
    });
}
