//! Processes that attach to a node: everybody finds everybody, messages go straight from one to the other, ends are told.
//!
//! Each "process" here is a fabric of its own, over the real socket and real sealed memory in production, over simulated ones otherwise.
//! What only the death of a true process shows stands in `client/tests/processes`.

use std::path::PathBuf;
use std::time::Duration;

use synod_fabric::attach::{
    AttachOptions, Attachment, DetachReason, Host, HostConfig, PayloadMemory, attach,
};
use synod_fabric::{
    Agent, Context, Fabric, FabricConfig, Pattern, Priority, PublishError, Refusal, RequestError, Subject,
    TAP_HEAD,
};
use synod_platform::memory::dma;
use synod_platform::{task, testing, time};

const SOON: Duration = Duration::from_secs(5);

/// A socket's path of its own for each test.
fn socket(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("synod-{}-{test}.sock", synod_platform::process::pid()))
}

struct Node {
    host: Host,
    context: Context,
}

async fn node(test: &str) -> Node {
    let context = Fabric::new(FabricConfig::named("node-1")).enter("main").unwrap();
    let host = Host::start(&context, HostConfig::at(socket(test))).await.unwrap();
    Node { host, context }
}

struct Process {
    attachment: Attachment,
    agent: Agent,
}

async fn process(node: &Node, name: &str) -> Process {
    let attachment = attach(AttachOptions::new(node.host.path(), name)).await.unwrap();
    let agent = attachment.fabric().enter("main").unwrap().join(name).await.unwrap();
    Process { attachment, agent }
}

/// Publishes until the lane is there and somebody took it.
async fn publish(agent: &Agent, subject: &str, payload: &str) {
    let receipt = agent.publish_wait(subject, Priority::Normal, payload, SOON).await.unwrap();
    assert!(receipt.accepted_count() > 0, "{receipt:?}");
}

#[test]
fn two_processes_and_their_node_send_to_each_other_in_every_direction() {
    testing::run(1, || async {
        let node = node("directions").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let cleo = node.context.agent("cleo").unwrap();
        let mut inboxes = Vec::new();
        for agent in [&ada.agent, &ben.agent, &cleo] {
            inboxes.push(agent.inbox(16).await.unwrap());
        }
        for from in [&ada.agent, &ben.agent, &cleo] {
            for inbox in &mut inboxes {
                let to = inbox.agent().unwrap().name().to_owned();
                publish(from, &format!("agent.{to}"), from.name()).await;
                let message = time::timeout(SOON, inbox.recv()).await.unwrap().unwrap();
                assert_eq!((message.source(), &**message.payload()), (from.name(), from.name().as_bytes()));
            }
        }
    });
}

#[test]
fn a_node_knows_which_agents_each_attached_process_has() {
    testing::run(1, || async {
        let node = node("who").await;
        let (ada, _ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let second = ada.agent.context().join("ada-too").await.unwrap();
        let agents = |name: &str| {
            let attached = node.host.attached();
            attached.into_iter().find(|process| process.name == name).unwrap().agents
        };
        assert_eq!(
            (agents("ada"), agents("ben")),
            (vec!["ada".into(), "ada-too".into()], vec!["ben".into()])
        );
        drop(second);
        while agents("ada") != ["ada"] {
            time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_subscription_is_known_everywhere_when_subscribe_returns() {
    testing::run(1, || async {
        let node = node("known").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        for round in 0..20 {
            let subject = format!("news.{round}");
            let mut news = ben.agent.subscribe(&subject, 4).await.unwrap();
            // The first send makes the lane, so it is refused for want of room, never for want of a receiver.
            let receipt = ada.agent.publish_wait(&subject, Priority::High, "x", SOON).await.unwrap();
            assert_eq!(receipt.accepted().collect::<Vec<_>>(), ["ben"]);
            assert!(time::timeout(SOON, news.recv()).await.unwrap().is_some());
        }
    });
}

#[test]
fn batch_messages_leave_room_in_the_lane_for_what_is_more_urgent() {
    testing::run(1, || async {
        let node = node("batch").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut news = ben.agent.subscribe("news", 64).await.unwrap();
        let (long, mut all) = (vec![7; 2000], 1);
        let first = ada.agent.publish_wait("news", Priority::Batch, long.clone(), SOON).await.unwrap();
        assert_eq!(first.accepted_count(), 1);
        // More than the lane's ring holds, and nobody takes any out meanwhile.
        for _ in 0..32 {
            all += ada.agent.publish("news", Priority::Batch, &long[..]).unwrap().accepted_count();
        }
        let normal = ada.agent.publish("news", Priority::Normal, "now").unwrap();
        assert_eq!((all, normal.accepted_count()), (33, 1));
        for _ in 0..34 {
            let message = time::timeout(SOON, news.recv()).await.unwrap().unwrap();
            assert!(message.priority() == Priority::Normal || **message.payload() == *long);
        }
    });
}

#[test]
fn a_request_is_answered_across_processes_and_a_name_is_taken_once_in_the_node() {
    testing::run(1, || async {
        let node = node("request").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut sums = ben.agent.serve("sum", 4).await.unwrap();
        let serving = task::spawn(async move {
            while let Some(message) = sums.recv().await {
                let sum: u32 = message.payload().iter().map(|digit| u32::from(digit - b'0')).sum();
                message.reply(sum.to_string()).unwrap();
            }
        });
        for _ in 0..3 {
            let answer = ada.agent.request("sum", Priority::Normal, "123", SOON).await.unwrap();
            assert_eq!((&**answer.payload(), answer.source()), (&b"6"[..], "ben"));
        }
        let other = ada.attachment.fabric().enter("second").unwrap();
        assert!(other.join("ben").await.is_err(), "ben is another process's");
        assert!(node.context.agent("ben").is_err(), "also for the node");
        serving.abort();
    });
}

#[test]
fn what_came_before_a_process_left_is_delivered_and_what_is_asked_of_it_afterwards_fails_at_once() {
    testing::run(1, || async {
        let node = node("leaves").await;
        let cleo = node.context.agent("cleo").unwrap();
        let mut inbox = cleo.inbox(64).await.unwrap();
        let ben = process(&node, "ben").await;
        let mut sums = ben.agent.serve("sum", 4).await.unwrap();
        for n in 0..32 {
            publish(&ben.agent, "agent.cleo", &n.to_string()).await;
        }
        let asking = cleo.request("sum", Priority::Normal, "1", SOON);
        let leaving = async {
            let _in_hand = time::timeout(SOON, sums.recv()).await.unwrap().unwrap();
            drop((sums, ben));
        };
        let (answer, ()) = futures_util::join!(asking, leaving);
        assert!(answer.is_err(), "{answer:?}");
        for n in 0..32 {
            let message = time::timeout(SOON, inbox.recv()).await.unwrap().unwrap();
            assert_eq!(&**message.payload(), n.to_string().as_bytes());
        }
        let answer = cleo.request("sum", Priority::Normal, "1", SOON).await;
        assert_eq!(answer.map(drop), Err(RequestError::NobodyListens("sum".into())));
        assert!(node.host.attached().is_empty());
        node.context.agent("ben").expect("its name is free again");
    });
}

#[test]
fn answers_that_wait_for_a_lane_are_on_it_once_their_context_is_flushed() {
    testing::run(1, || async {
        let node = node("flush").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut sums = ben.agent.serve("sum", 4).await.unwrap();
        let leaving = async {
            time::timeout(SOON, sums.recv()).await.unwrap().unwrap().reply("6").unwrap();
            assert!(ben.agent.context().flush(SOON).await);
            drop((sums, ben));
        };
        let asking = ada.agent.request("sum", Priority::Normal, "123", SOON);
        let (answer, ()) = futures_util::join!(asking, leaving);
        assert_eq!(&**answer.unwrap().payload(), b"6");
    });
}

#[test]
fn who_waits_for_a_lane_to_a_process_that_died_goes_on_at_once() {
    testing::run(1, || async {
        let node = node("died").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let news = ben.agent.subscribe("news", 4).await.unwrap();
        let publishing = ada.agent.publish_wait("news", Priority::Normal, "x", SOON * 2);
        let dying = async {
            drop(ben.attachment);
            time::timeout(SOON, std::future::pending::<()>()).await.unwrap_err();
        };
        let published = futures_util::future::select(Box::pin(publishing), Box::pin(dying)).await;
        let futures_util::future::Either::Left((published, _)) = published else { panic!("it waits still") };
        assert!(matches!(published, Err(PublishError::Unreachable(_))), "{published:?}");
        drop((news, ben.agent));
    });
}

#[test]
fn a_full_receiver_holds_its_sender_up_and_lets_it_go_on_when_it_takes_something() {
    testing::run(1, || async {
        let node = node("full").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut slow = ben.agent.subscribe("slow", 4).await.unwrap();
        let sending = async {
            for n in 0..100u32 {
                publish(&ada.agent, "slow", &n.to_string()).await;
            }
        };
        let taking = async {
            for n in 0..100u32 {
                let message = time::timeout(SOON, slow.recv()).await.unwrap().unwrap();
                assert_eq!(&**message.payload(), n.to_string().as_bytes());
                if n % 7 == 0 {
                    time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        futures_util::join!(sending, taking);
    });
}

#[test]
fn a_process_finds_its_node_again_after_a_restart_with_all_it_had() {
    testing::run(1, || async {
        let first = node("restart").await;
        let ben = process(&first, "ben").await;
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        drop(first);
        ben.attachment.changed_to(false).await;
        assert!(ben.attachment.lost().is_some());
        let second = node("restart").await;
        time::timeout(SOON, ben.attachment.changed_to(true)).await.unwrap();
        let ada = process(&second, "ada").await;
        publish(&ada.agent, "news", "again").await;
        assert_eq!(&**time::timeout(SOON, news.recv()).await.unwrap().unwrap().payload(), b"again");
    });
}

#[test]
fn what_is_held_while_the_node_is_lost_stays_as_it_is_until_its_holder_lets_go() {
    testing::run(1, || async {
        const LEN: usize = 1 << 20;
        let first = node("held").await;
        let (ada, ben) = (process(&first, "ada").await, process(&first, "ben").await);
        let mut news = ben.agent.subscribe("news", 4).await.unwrap();
        let send = async |salt| {
            let mut loan = ada.agent.loan(LEN).unwrap();
            loan.copy_from_slice(&pattern(LEN, salt));
            let receipt = ada.agent.publish_wait("news", Priority::Normal, loan, SOON).await.unwrap();
            assert_eq!(receipt.accepted_count(), 1);
        };
        send(1).await;
        let held = time::timeout(SOON, news.recv()).await.unwrap().unwrap();
        drop(first);
        futures_util::join!(ada.attachment.changed_to(false), ben.attachment.changed_to(false));
        let second = node("held").await;
        futures_util::join!(ada.attachment.changed_to(true), ben.attachment.changed_to(true));
        while second.context.fabric().snapshot().subscriptions.is_empty() {
            time::sleep(Duration::from_millis(1)).await;
        }
        for salt in 2..5 {
            send(salt).await;
            time::timeout(SOON, news.recv()).await.unwrap().unwrap();
        }
        assert!(**held.payload() == pattern(LEN, 1)[..], "nobody writes what ben holds");
        drop(held);
        let all_there_is: Vec<_> = std::iter::from_fn(|| ada.agent.loan(LEN).ok()).collect();
        assert_eq!(all_there_is.len(), 256, "its memory is ada's own again");
    });
}

#[test]
fn an_answer_that_came_too_late_for_a_lost_node_does_not_bar_the_way_once_it_is_back() {
    testing::run(1, || async {
        let first = node("late").await;
        let (ada, ben) = (process(&first, "ada").await, process(&first, "ben").await);
        let mut sums = ben.agent.serve("sum", 4).await.unwrap();
        let asker = ada.agent.clone();
        let asking =
            task::spawn(async move { asker.request("sum", Priority::Normal, "1", SOON).await.map(drop) });
        let asked = sums.recv().await.unwrap();
        drop(first);
        futures_util::join!(ada.attachment.changed_to(false), ben.attachment.changed_to(false));
        assert!(asking.await.unwrap().is_err(), "with the node went the way of the answer");
        // Whether the answer is refused or lost: it goes nowhere.
        let _ = asked.reply("1");
        let second = node("late").await;
        futures_util::join!(ada.attachment.changed_to(true), ben.attachment.changed_to(true));
        let mut news = ada.agent.subscribe("news", 4).await.unwrap();
        publish(&ben.agent, "news", "again").await;
        assert!(time::timeout(SOON, news.recv()).await.unwrap().is_some());
        drop(second);
    });
}

#[test]
fn a_token_is_good_once_and_without_one_nobody_is_admitted() {
    testing::run(1, || async {
        let context = Fabric::new(FabricConfig::named("node-1")).enter("main").unwrap();
        let config = HostConfig { tokens: true, ..HostConfig::at(socket("tokens")) };
        let host = Host::start(&context, config).await.unwrap();
        let options = AttachOptions::new(host.path(), "ada");
        let refused = attach(options.clone()).await;
        assert!(matches!(refused, Err(DetachReason::Rejected(_))), "{refused:?}");
        let options = AttachOptions { token: Some(host.token()), ..options };
        let _admitted = attach(options.clone()).await.unwrap();
        assert!(matches!(attach(options).await, Err(DetachReason::Rejected(_))), "the same token again");
    });
}

/// Bytes that show where they came from.
#[test]
fn who_was_let_in_with_a_token_comes_back_after_each_restart_and_who_left_does_not() {
    testing::run(1, || async {
        let start = async || {
            let context = Fabric::new(FabricConfig::named("node-1")).enter("main").unwrap();
            let config = HostConfig { tokens: true, ..HostConfig::at(socket("comeback")) };
            Host::start(&context, config).await.unwrap()
        };
        let mut host = start().await;
        let with_token = |name: &str, host: &Host| {
            let options = AttachOptions::new(host.path(), name);
            AttachOptions { token: Some(host.token()), ..options }
        };
        let first = with_token("ada", &host);
        let ada = attach(first.clone()).await.unwrap();
        drop(attach(with_token("ben", &host)).await.unwrap());
        for _ in 0..3 {
            // The node has told it by then what lets it in again.
            time::sleep(Duration::from_millis(100)).await;
            drop(host);
            time::timeout(SOON, ada.changed_to(false)).await.unwrap();
            host = start().await;
            time::timeout(SOON, ada.changed_to(true)).await.expect("it is let in");
        }
        let refused = attach(first).await;
        assert!(matches!(refused, Err(DetachReason::Rejected(_))), "its token was good once: {refused:?}");
        assert_eq!(host.attached().len(), 1, "ben left");
    });
}

async fn tapped_node(test: &str) -> Node {
    let context = Fabric::new(FabricConfig::named("node-1")).enter("main").unwrap();
    let taps = vec![Pattern::new("news.>").unwrap()];
    let host = Host::start(&context, HostConfig { taps, ..HostConfig::at(socket(test)) }).await.unwrap();
    Node { host, context }
}

#[test]
fn a_tap_sees_what_others_publish_and_when_it_is_full_loses_it_and_holds_up_nobody() {
    testing::run(1, || async {
        const FLOOD: u64 = 1000;
        let node = tapped_node("tap").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut news = ben.agent.subscribe("news.eu", 16).await.unwrap();
        let operator = attach(AttachOptions::new(node.host.path(), "operator")).await.unwrap();
        let mut tap = operator.tap("tap", "news.*", 4).await.unwrap();
        let send = async |payload: Vec<u8>| {
            let receipt = ada.agent.publish_wait("news.eu", Priority::High, payload, SOON).await.unwrap();
            assert_eq!(receipt.accepted().collect::<Vec<_>>(), ["ben"], "a tap is no receiver");
        };
        for payload in [b"hello".to_vec(), pattern(100_000, 1)] {
            send(payload.clone()).await;
            time::timeout(SOON, news.recv()).await.unwrap().unwrap();
            let seen = tap.recv_within(SOON).await.expect("the first, too, is shown");
            assert_eq!((seen.source.as_str(), seen.subject.as_str()), ("ada", "news.eu"));
            assert_eq!((seen.priority, seen.len), (Priority::High, payload.len() as u64));
            assert_eq!(seen.head, payload[..payload.len().min(TAP_HEAD)]);
        }
        for n in 0..FLOOD {
            send(n.to_le_bytes().to_vec()).await;
            time::timeout(SOON, news.recv()).await.unwrap().unwrap();
        }
        let mut seen = 0;
        while tap.recv_within(Duration::from_millis(50)).await.is_some() {
            seen += 1;
        }
        assert!(seen >= 4 && tap.missed() > 0, "{seen} seen, {} lost", tap.missed());
        assert_eq!(seen + tap.missed(), FLOOD);
        drop(tap);
        send(b"unseen".to_vec()).await;
    });
}

#[test]
fn what_the_nodes_policy_does_not_open_cannot_be_tapped() {
    testing::run(1, || async {
        let node = tapped_node("untapped").await;
        let operator = attach(AttachOptions::new(node.host.path(), "operator")).await.unwrap();
        for (name, wider) in [("tap-1", ">"), ("tap-2", "news"), ("tap-3", "orders.eu")] {
            let refused = operator.tap(name, wider, 4).await.unwrap_err();
            assert!(refused.to_string().contains("may not be tapped"), "{wider}: {refused}");
        }
        operator.tap("tap-4", "news.eu", 4).await.unwrap();
    });
}

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ at >> 8 ^ salt) as u8).collect()
}

#[test]
fn long_payloads_come_whole_at_every_size_to_one_and_to_many() {
    testing::run(1, || async {
        let node = node("long").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let cleo = node.context.agent("cleo").unwrap();
        let mut receivers = Vec::new();
        for agent in [&ada.agent, &ben.agent, &cleo] {
            receivers.push(agent.subscribe("blob", 4).await.unwrap());
        }
        for (salt, len) in [2000, 2033, 4096, 4097, 70_000, 1 << 20].into_iter().enumerate() {
            let sent = pattern(len, salt);
            let receipt = ada.agent.publish_wait("blob", Priority::Normal, sent.clone(), SOON).await.unwrap();
            assert_eq!(receipt.accepted_count(), 3);
            for receiver in &mut receivers {
                let message = time::timeout(SOON, receiver.recv()).await.unwrap().unwrap();
                assert_eq!(message.payload().len(), len);
                let mut middle = vec![0; 100];
                message.payload().copy_to(len / 2..len / 2 + 100, &mut middle);
                assert_eq!(middle, sent[len / 2..len / 2 + 100]);
                assert_eq!(**message.payload(), sent[..], "{len} bytes to {:?}", receiver.agent());
            }
        }
    });
}

#[test]
fn a_loan_is_filled_in_place_and_its_memory_comes_back_when_every_receiver_let_go() {
    testing::run(1, || async {
        let node = node("loan").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut news = ben.agent.subscribe("news", 64).await.unwrap();
        // The memory is enough for sixteen of this size: so it has to come back.
        const LEN: usize = 16 << 20;
        let mut held = Vec::new();
        for round in 0..24u8 {
            let mut loan = loop {
                match ada.agent.loan(LEN) {
                    Ok(loan) => break loan,
                    Err(_) => {
                        held.clear();
                        // Now there is memory for other sizes, too.
                        publish(&ada.agent, "news", &"x".repeat(3000)).await;
                        let small = time::timeout(SOON, news.recv()).await.unwrap().unwrap();
                        assert_eq!(small.payload().len(), 3000);
                    }
                }
            };
            loan[0] = round;
            loan[LEN - 1] = round;
            let receipt = ada.agent.publish_wait("news", Priority::Batch, loan, SOON).await.unwrap();
            assert_eq!(receipt.accepted_count(), 1);
            let message = time::timeout(SOON, news.recv()).await.unwrap().unwrap();
            let mut ends = [255; 1];
            message.payload().copy_to(LEN - 1..LEN, &mut ends);
            assert_eq!(ends, [round]);
            held.push(message);
        }
        assert!(held.len() <= 16, "the memory of more at once is not there");
    });
}

#[test]
fn a_sender_without_memory_waits_until_a_receiver_lets_go() {
    testing::run(1, || async {
        let node = node("memory").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut news = ben.agent.subscribe("news", 1024).await.unwrap();
        let sending = async {
            for n in 0..24u8 {
                let payload = vec![n; 15 << 20];
                let receipt = ada.agent.publish_wait("news", Priority::Low, payload, SOON).await.unwrap();
                assert_eq!(receipt.accepted_count(), 1);
            }
        };
        let taking = async {
            let mut held = Vec::new();
            for n in 0..24u8 {
                let message = time::timeout(SOON, news.recv()).await.unwrap().unwrap();
                let mut first = [0; 8];
                message.payload().copy_to(0..8, &mut first);
                assert_eq!(first, [n; 8]);
                held.push(message);
                if held.len() > 10 {
                    time::sleep(Duration::from_millis(2)).await;
                    held.clear();
                }
            }
        };
        futures_util::join!(sending, taking);
    });
}

#[test]
fn a_long_answer_comes_back_whole() {
    testing::run(1, || async {
        let node = node("answer").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut echo = ben.agent.serve("echo", 4).await.unwrap();
        let serving = task::spawn(async move {
            while let Some(mut message) = echo.recv().await {
                let payload = message.take_payload();
                message.reply(payload).unwrap();
            }
        });
        for (salt, len) in [10, 3000, 100_000, 1 << 20].into_iter().enumerate() {
            let sent = pattern(len, salt);
            let answer = ada.agent.request("echo", Priority::High, sent.clone(), SOON).await.unwrap();
            assert_eq!(**answer.payload(), sent[..]);
        }
        serving.abort();
    });
}

#[test]
fn a_flood_makes_its_lane_larger_and_comes_in_order() {
    testing::run(1, || async {
        let node = node("flood").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut news = ben.agent.subscribe("news", 65_536).await.unwrap();
        const COUNT: u32 = 60_000;
        let publisher = ada.agent.publisher("news").unwrap();
        let sending = async {
            for n in 0..COUNT {
                let sent = publisher.publish_wait(Priority::Normal, &n.to_le_bytes(), SOON).await.unwrap();
                assert_eq!(sent.accepted_count(), 1);
            }
        };
        let taking = async {
            for n in 0..COUNT {
                let message = time::timeout(SOON, news.recv()).await.unwrap().unwrap();
                assert_eq!(**message.payload(), n.to_le_bytes());
            }
        };
        futures_util::join!(sending, taking);
        assert!(
            synod_probe::reach::snapshot().iter().any(|(name, hits)| *name == "attach.grown" && *hits > 0),
            "{COUNT} messages and the ring is as small as before"
        );
    });
}

#[cfg(not(madsim))]
#[test]
fn a_context_that_spins_does_not_keep_its_executors_root_waiting() {
    // Not in a task, but as the root of the executor.
    task::block_on(async {
        let node = node("root").await;
        let ada = process(&node, "ada").await;
        let options = AttachOptions { spin: SOON, ..AttachOptions::new(node.host.path(), "ben") };
        let attachment = attach(options).await.unwrap();
        let ben = attachment.fabric().enter("main").unwrap().join("ben").await.unwrap();
        let mut news = ben.subscribe("news", 4).await.unwrap();
        let given_way = || {
            let marks = synod_probe::reach::snapshot();
            marks.iter().find(|(name, _)| *name == "time.gave_way").map_or(0, |(_, turns)| *turns)
        };
        for _ in 0..20 {
            publish(&ada.agent, "news", "x").await;
            let before = given_way();
            assert!(news.recv().await.is_some());
            let turns = given_way() - before;
            assert!(turns <= 4, "{turns} turns of spinning before the one who waits had his");
        }
    });
}

#[test]
fn rows_of_payloads_cross_to_another_process_in_order_while_their_ring_grows() {
    testing::run(1, || async {
        let node = node("rows").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut news = ben.agent.subscribe("news", 65_536).await.unwrap();
        const COUNT: u32 = 40_000;
        publish(&ada.agent, "news", "the lane is there").await;
        news.recv().await.unwrap();
        let publisher = ada.agent.publisher("news").unwrap();
        let sending = async {
            let numbers: Vec<_> = (0..COUNT).map(u32::to_le_bytes).collect();
            let mut left = &numbers[..];
            while !left.is_empty() {
                let row = left[..left.len().min(100)].iter().map(|number| &number[..]);
                let published = publisher.publish_all(Priority::Normal, row);
                left = &left[published.taken..];
                match published.stopped {
                    None => {}
                    Some(Err(PublishError::WouldBlock(_))) => time::sleep(Duration::from_micros(100)).await,
                    Some(other) => panic!("{other:?}"),
                }
            }
        };
        let taking = async {
            for n in 0..COUNT {
                let message = time::timeout(SOON, news.recv()).await.unwrap().unwrap();
                assert_eq!(**message.payload(), n.to_le_bytes());
            }
        };
        futures_util::join!(sending, taking);
        let grown = synod_probe::reach::snapshot();
        assert!(grown.iter().any(|(name, hits)| *name == "attach.grown" && *hits > 0), "{grown:?}");
    });
}

#[test]
fn a_critical_message_is_handled_before_a_hundred_thousand_low_ones_that_were_there_first() {
    testing::run(1, || async {
        let node = node("critical").await;
        let mut low = Vec::new();
        for name in ["a", "b"] {
            low.push(process(&node, name).await);
        }
        let ben = process(&node, "ben").await;
        let mut inbox = ben.agent.inbox(65_536).await.unwrap();
        const EACH: usize = 50_000;
        let flood = |agent: Agent| async move {
            let publisher = agent.publisher("agent.ben").unwrap();
            for n in 0..EACH as u64 {
                let sent = publisher.publish_wait(Priority::Low, &n.to_le_bytes(), SOON).await.unwrap();
                assert_eq!(sent.accepted_count(), 1);
            }
        };
        futures_util::join!(flood(low[0].agent.clone()), flood(low[1].agent.clone()));
        let urgent = ben.attachment.fabric().enter("urgent").unwrap().join("urgent").await.unwrap();
        let sent = urgent.publish_wait("agent.ben", Priority::Critical, "now", SOON).await.unwrap();
        assert_eq!(sent.accepted_count(), 1);
        while inbox.len() < 2 * EACH + 1 {
            task::yield_now().await;
        }
        assert_eq!(inbox.recv().await.unwrap().priority(), Priority::Critical);
        let mut next = [0u64; 2];
        for _ in 0..2 * EACH {
            let message = inbox.try_recv().unwrap();
            let from = usize::from(message.source() == "b");
            assert_eq!(**message.payload(), next[from].to_le_bytes());
            next[from] += 1;
        }
        assert_eq!(next, [EACH as u64; 2], "LOW still moved, in order, and nothing is lost");
    });
}

#[test]
fn the_node_sees_what_lanes_count_and_takes_the_leave_to_send_away() {
    testing::run(1, || async {
        let node = node("leave").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut news = ben.agent.subscribe("news.>", 64).await.unwrap();
        for n in 0..10 {
            publish(&ada.agent, "news.eu", &n.to_string()).await;
        }
        for _ in 0..7 {
            assert!(time::timeout(SOON, news.recv()).await.unwrap().is_some());
        }
        let lanes = node.host.lanes();
        let [lane] = &lanes[..] else { panic!("{lanes:?}") };
        let pair = &lane.pairs[0];
        assert_eq!((pair.to.as_str(), pair.counts.accepted, pair.counts.delivered), ("ben", 10, 7));
        assert_eq!(node.host.revoke("ada", &Subject::new("news.eu").unwrap()).await, 1);
        let refused = loop {
            // What is published before the sender knows is withheld.
            match ada.agent.publish_wait("news.eu", Priority::Normal, "late", SOON).await {
                Ok(_) => task::yield_now().await,
                Err(refused) => break refused,
            }
        };
        let PublishError::Unreachable(receipt) = refused else { panic!("{refused:?}") };
        assert_eq!(receipt.refused(), [("ben", Refusal::NotAllowed)]);
        publish(&ada.agent, "news.us", "may still be said").await;
        let mut rest = Vec::new();
        for _ in 0..4 {
            let message = time::timeout(SOON, news.recv()).await.unwrap().unwrap();
            rest.push(String::from_utf8(message.payload().to_vec()).unwrap());
        }
        assert_eq!(rest, ["7", "8", "9", "may still be said"]);
    });
}

#[test]
fn a_process_with_more_subscriptions_than_one_grant_names_gets_each_message_for_each_of_them() {
    testing::run(1, || async {
        const COUNT: usize = 1500;
        let node = node("many").await;
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut subscriptions = Vec::new();
        for _ in 0..COUNT {
            subscriptions.push(ben.agent.subscribe("news", 4).await.unwrap());
        }
        for round in 0..3 {
            let receipt = ada.agent.publish_wait("news", Priority::Normal, round.to_string(), SOON).await;
            assert_eq!(receipt.unwrap().accepted_count(), COUNT);
            for subscription in &mut subscriptions {
                let message = time::timeout(SOON, subscription.recv()).await.unwrap().unwrap();
                assert_eq!(**message.payload(), *round.to_string().as_bytes());
            }
        }
        assert!(subscriptions.iter_mut().all(|subscription| subscription.try_recv().is_none()));
    });
}

#[test]
fn a_process_makes_its_memory_for_long_payloads_as_its_node_has_it_and_tells_what_it_stands_on() {
    testing::run(1, || async {
        let config = FabricConfig { payload_memory: PayloadMemory::Local, ..FabricConfig::named("node-1") };
        let context = Fabric::new(config).enter("main").unwrap();
        let host = Host::start(&context, HostConfig::at(socket("memory"))).await.unwrap();
        let node = Node { host, context };
        let (ada, ben) = (process(&node, "ada").await, process(&node, "ben").await);
        let mut inbox = ben.agent.inbox(16).await.unwrap();
        publish(&ada.agent, "agent.ben", "short").await;
        assert_eq!(inbox.recv().await.unwrap().payload()[..], *b"short");
        let standing = || node.host.attached().into_iter().map(|process| process.memory).collect::<Vec<_>>();
        assert!(standing().iter().all(Vec::is_empty), "nobody has any: nothing long was sent");
        publish(&ada.agent, "agent.ben", &"long".repeat(1 << 18)).await;
        assert!(inbox.recv().await.unwrap().payload().ends_with(b"long"));
        let standing = standing();
        let rungs = standing.iter().find(|rungs| !rungs.is_empty()).expect("one of them told");
        assert_eq!(rungs.iter().map(|rung| &*rung.name).collect::<Vec<_>>(), dma::RUNGS);
        assert!(rungs[0].held, "the node passes on what is sealed alone: {}", rungs[0].why);
        assert!(!rungs[6].held && !rungs[6].why.is_empty(), "and it was not asked for a GPU");
        assert_eq!(standing.iter().filter(|rungs| !rungs.is_empty()).count(), 1, "who receives has none");
        drop((ada, ben));
    });
}
