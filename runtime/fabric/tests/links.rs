//! Links between two nodes over the platform's network, in both builds.

use std::future::Future;
use std::time::Duration;

use synod_fabric::link::{LinkConfig, Links, Peer};
use synod_fabric::{Context, Fabric, FabricConfig, Priority, RequestError};
use synod_platform::net::{self, Choice, Credentials};
use synod_platform::{task, testing};

const NORMAL: Priority = Priority::Normal;

fn run<F, Fut>(body: F)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    testing::run(11, body);
}

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn config(name: &str) -> LinkConfig {
    LinkConfig::new(Credentials::plain(name).unwrap())
}

/// Two nodes on loopback, linked: `alpha` dials `beta`.
async fn pair(window: u32) -> ((Context, Links), (Context, Links)) {
    pair_by(window, Choice::Automatic).await
}

async fn pair_by(window: u32, sockets: Choice) -> ((Context, Links), (Context, Links)) {
    let beta = Fabric::new(FabricConfig::named("beta")).enter("main").unwrap();
    let mut listening =
        LinkConfig { listen: Some("127.0.0.1:0".parse().unwrap()), window, sockets, ..config("beta") };
    listening.peers.push(Peer { name: "alpha".into(), address: "127.0.0.1:1".parse().unwrap() });
    let beta_links = Links::start(&beta, listening).await.unwrap();
    let alpha = Fabric::new(FabricConfig::named("alpha")).enter("main").unwrap();
    let mut dialling = LinkConfig { window, sockets, ..config("alpha") };
    dialling.peers.push(Peer { name: "beta".into(), address: beta_links.address().unwrap().clone() });
    let alpha_links = Links::start(&alpha, dialling).await.unwrap();
    alpha_links.wait_for("beta").await;
    beta_links.wait_for("alpha").await;
    ((alpha, alpha_links), (beta, beta_links))
}

/// Publishes until the news of a subscription has crossed the link.
async fn publish_once_known(agent: &synod_fabric::Agent, subject: &str, payload: &str) -> Vec<String> {
    let mut changes = agent.context().fabric().changes();
    loop {
        let receipt = agent.publish(subject, NORMAL, payload).unwrap();
        if receipt.accepted_count() > 0 {
            return receipt.accepted().map(str::to_owned).collect();
        }
        changes.next().await;
    }
}

#[test]
fn what_is_published_on_one_node_reaches_subscribers_on_the_other_once() {
    run(|| async {
        let ((alpha, _a), (beta, _b)) = pair(16).await;
        let (one, two) = (beta.agent("one").unwrap(), beta.agent("two").unwrap());
        let mut exact = one.subscribe("news.today", 8).await.unwrap();
        let mut wild = two.subscribe("news.>", 8).await.unwrap();
        let sender = alpha.agent("sender").unwrap();
        let accepted = publish_once_known(&sender, "news.today", "hello").await;
        assert_eq!(accepted, ["node:beta"], "one receiver: the node");
        for subscription in [&mut exact, &mut wild] {
            let message = subscription.recv().await.unwrap();
            assert_eq!((&**message.payload(), message.source()), (&b"hello"[..], "alpha/sender"));
        }
        task::yield_now().await;
        assert!(exact.is_empty() && wild.is_empty());
    });
}

#[test]
fn a_link_by_io_uring_carries_short_and_long_events_both_ways() {
    run(|| async {
        if net::choose(Choice::IoUring).is_err() {
            return;
        }
        let ((alpha, _a), (beta, _b)) = pair_by(16, Choice::IoUring).await;
        for (here, there) in [(&alpha, &beta), (&beta, &alpha)] {
            let mut news = there.agent("reader").unwrap().subscribe("news", 64).await.unwrap();
            let sender = here.agent("sender").unwrap();
            publish_once_known(&sender, "news", "first").await;
            assert_eq!(&**news.recv().await.unwrap().payload(), b"first");
            let long = vec![7; 1 << 20];
            for _ in 0..16 {
                let receipt = sender.publish_wait("news", NORMAL, long.clone(), second(20)).await.unwrap();
                assert_eq!(receipt.accepted_count(), 1);
                assert!(**news.recv().await.unwrap().payload() == long[..]);
            }
        }
    });
}

#[test]
fn what_came_over_a_link_goes_over_none() {
    run(|| async {
        let ((alpha, _a), (beta, _b)) = pair(16).await;
        let mut here = alpha.agent("here").unwrap().subscribe("echo", 8).await.unwrap();
        let mut there = beta.agent("there").unwrap().subscribe("echo", 8).await.unwrap();
        let sender = alpha.agent("sender").unwrap();
        let mut changes = alpha.fabric().changes();
        loop {
            let receipt = sender.publish("echo", NORMAL, "x").unwrap();
            here.recv().await.unwrap();
            if receipt.accepted_count() == 2 {
                break;
            }
            changes.next().await;
        }
        assert_eq!(there.recv().await.unwrap().source(), "alpha/sender");
        assert!(here.is_empty());
    });
}

#[test]
fn a_request_is_answered_across_the_link_also_with_sixteen_mebibytes() {
    run(|| async {
        let ((alpha, _a), (beta, _b)) = pair(16).await;
        let mut requests = beta.agent("echo").unwrap().serve("echo", 8).await.unwrap();
        let serving = task::spawn(async move {
            while let Some(mut request) = requests.recv().await {
                let payload = request.take_payload();
                request.reply(payload).unwrap();
            }
        });
        let asker = alpha.agent("asker").unwrap();
        let mut changes = alpha.fabric().changes();
        for size in [0, 1000, synod_fabric::PAYLOAD_MAX] {
            let payload: Vec<u8> = (0..size).map(|i| (i % 253) as u8).collect();
            let answer = loop {
                match asker.request("echo", NORMAL, payload.clone(), second(20)).await {
                    Err(RequestError::NobodyListens(_)) => changes.next().await,
                    answer => break answer.unwrap(),
                }
            };
            assert!(answer.payload().as_ref() == payload, "{size}");
        }
        serving.abort();
    });
}

#[test]
fn refusals_and_failures_cross_the_link_by_name() {
    run(|| async {
        let ((alpha, _a), (beta, _b)) = pair(16).await;
        let mut requests = beta.agent("moody").unwrap().serve("moody", 8).await.unwrap();
        let serving = task::spawn(async move {
            for turn in 0.. {
                let request = requests.recv().await.unwrap();
                match turn {
                    0 => request.refuse("no").unwrap(),
                    1 => request.fail("broke").unwrap(),
                    _ => drop(request),
                }
            }
        });
        let asker = alpha.agent("asker").unwrap();
        let mut changes = alpha.fabric().changes();
        let mut ends = Vec::new();
        while ends.len() < 3 {
            match asker.request("moody", NORMAL, "x", second(5)).await {
                Err(RequestError::NobodyListens(_)) => changes.next().await,
                end => ends.push(end.map(|_| ()).unwrap_err()),
            }
        }
        let subject = || "moody".to_owned();
        assert_eq!(ends[0], RequestError::Refused { subject: subject(), reason: "no".into() });
        assert_eq!(ends[1], RequestError::Failed { subject: subject(), reason: "broke".into() });
        assert_eq!(ends[2], RequestError::Abandoned(subject()));
        serving.abort();
    });
}

#[test]
fn a_flood_of_low_holds_back_neither_the_sender_nor_critical_messages() {
    run(|| async {
        let ((alpha, _a), (beta, _b)) = pair(8).await;
        // A receiver that takes nothing LOW: its queue, then the window, then the link's queue fill up.
        let agent = beta.agent("receiver").unwrap();
        let mut subscription = agent.subscribe("work", 4).await.unwrap();
        let sender = alpha.agent("sender").unwrap();
        publish_once_known(&sender, "work", "first").await;
        assert_eq!(&**subscription.recv().await.unwrap().payload(), b"first");
        let mut accepted = 0;
        while sender.publish_wait("work", Priority::Low, "low", Duration::from_millis(200)).await.is_ok() {
            accepted += 1;
        }
        assert!((8 + 8..=8 + 8 + 4 + 1).contains(&accepted), "{accepted}");
        let receipt = sender.publish("work", Priority::Critical, "now").unwrap();
        assert_eq!(receipt.accepted_count(), 1);
        loop {
            let message = subscription.recv().await.unwrap();
            if message.priority() == Priority::Critical {
                break;
            }
            accepted -= 1;
            assert!(accepted > 0);
        }
        for _ in 0..accepted {
            assert_eq!(subscription.recv().await.unwrap().priority(), Priority::Low);
        }
    });
}

#[test]
fn when_the_link_goes_down_a_request_on_it_ends_at_once_as_unreachable() {
    run(|| async {
        let ((alpha, a), (beta, b)) = pair(8).await;
        let mut requests = beta.agent("silent").unwrap().serve("silent", 8).await.unwrap();
        let asker = alpha.agent("asker").unwrap();
        let mut changes = alpha.fabric().changes();
        let asked = task::spawn(async move {
            loop {
                match asker.request("silent", NORMAL, "x", second(3000)).await {
                    Err(RequestError::NobodyListens(_)) => changes.next().await,
                    end => return end.map(|_| ()),
                }
            }
        });
        let kept = requests.recv().await.unwrap();
        b.stop().await;
        assert_eq!(asked.await.unwrap(), Err(RequestError::Unreachable("silent".into())));
        a.wait_for_loss_of("beta").await;
        drop(kept);
    });
}
