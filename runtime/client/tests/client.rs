//! The client beside a node in the same process: where it looks for the node, what it waits for, how it leaves.

use std::path::PathBuf;
use std::time::Duration;

use synod_client::{Client, ClientError, Options, Priority};
use synod_fabric::attach::{Host, HostConfig};
use synod_fabric::{Context, Fabric, FabricConfig};
use synod_platform::{task, testing, time};

const SOON: Duration = Duration::from_secs(5);

fn socket(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("synod-client-{}-{test}.attach", synod_platform::process::pid()))
}

async fn node(test: &str) -> (Host, Context) {
    let context = Fabric::new(FabricConfig::named("node-1")).enter("home").unwrap();
    let host = Host::start(&context, HostConfig::at(socket(test))).await.unwrap();
    (host, context)
}

async fn client(test: &str, name: &str) -> Client {
    Options::new().socket(socket(test)).patience(SOON).attach(name).await.unwrap()
}

#[test]
fn without_a_node_the_error_says_how_to_start_one() {
    testing::run(1, || async {
        let refused = Options::new().socket(socket("nobody")).attach("ada").await.unwrap_err();
        assert!(matches!(refused, ClientError::NobodyListens(_)), "{refused:?}");
        assert!(refused.to_string().contains("start one with `synod up`"), "{refused}");
    });
}

#[test]
fn rings_of_a_size_that_cannot_be_are_refused_with_the_sizes_that_can() {
    testing::run(1, || async {
        let _node = node("rings").await;
        for bytes in [0, 512, 1000, 128 << 20, 16 << 32] {
            let refused = Options::new().socket(socket("rings")).lane_bytes(bytes).attach("ada").await;
            let said = refused.unwrap_err().to_string();
            assert!(
                said.contains(&format!("{bytes} bytes")) && said.contains("from 1 KiB to 64 MiB"),
                "{said}"
            );
        }
        Options::new().socket(socket("rings")).lane_bytes(1 << 20).attach("ada").await.unwrap();
    });
}

#[test]
fn agents_of_one_process_and_of_others_reach_each_other_with_the_priority_they_set() {
    testing::run(1, || async {
        let _node = node("agents").await;
        let ada = client("agents", "ada").await;
        let eve = ada.join("eve").await.unwrap().with_priority(Priority::Critical);
        let ben = client("agents", "ben").await;
        let (mut inbox, mut news) = (eve.inbox().await.unwrap(), ben.subscribe("news.*").await.unwrap());
        let receipt = ben.publish("agent.eve", "hello").await.unwrap();
        assert_eq!(receipt.accepted().collect::<Vec<_>>(), ["eve"]);
        assert_eq!(inbox.recv().await.unwrap().source(), "ben");
        let _receipt = eve.publish("news.eu", "x").await.unwrap();
        assert_eq!(news.recv().await.unwrap().priority(), Priority::Critical);
        assert!(eve.try_publish("news.eu", "y").unwrap().refused().is_empty(), "the way is open by now");
    });
}

#[test]
fn an_answer_that_was_given_before_its_giver_left_arrives() {
    testing::run(1, || async {
        let _node = node("detach").await;
        let (ada, ben) = (client("detach", "ada").await, client("detach", "ben").await);
        let mut sums = ben.serve("sum").await.unwrap();
        let serving = task::spawn(async move {
            sums.recv().await.unwrap().reply("6").unwrap();
            ben.detach().await.unwrap();
        });
        assert_eq!(&**ada.request("sum", "123").await.unwrap().payload(), b"6");
        serving.await.unwrap();
    });
}

#[test]
fn what_expires_is_not_received_too_late_and_is_tried_again_while_nobody_has_room() {
    testing::run(1, || async {
        let _node = node("expires").await;
        let ben = client("expires", "ben").await;
        let ada = Options::new().socket(socket("expires")).capacity(1).attach("ada").await.unwrap();
        let mut news = ada.subscribe("news").await.unwrap();
        let _receipt = ben.publish_expiring("news", "first", SOON).await.unwrap();
        assert_eq!(**news.recv().await.unwrap().payload(), *b"first");
        let _receipt = ben.publish_expiring("news", "old", Duration::from_millis(20)).await.unwrap();
        time::sleep(Duration::from_millis(40)).await;
        assert!(time::timeout(Duration::from_millis(5), news.recv()).await.is_err(), "nobody wants it now");
        let _receipt = ben.publish_expiring("news", "new", SOON).await.unwrap();
        let full = ben.publish_expiring("news", "more", Duration::from_millis(5)).await.unwrap_err();
        assert!(matches!(full, ClientError::Publish(_)), "{full}");
        let reading = async {
            time::sleep(Duration::from_millis(5)).await;
            news.recv().await.unwrap()
        };
        let (sent, received) = futures_util::join!(ben.publish_expiring("news", "more", SOON), reading);
        assert_eq!(sent.unwrap().accepted_count(), 1);
        assert_eq!(**received.payload(), *b"new");
        assert_eq!(**news.recv().await.unwrap().payload(), *b"more");
    });
}

#[test]
fn a_publish_while_the_node_is_lost_waits_for_it_and_a_try_says_that_it_is_lost() {
    testing::run(1, || async {
        let first = node("lost").await;
        let ada = client("lost", "ada").await;
        drop(first);
        ada.closed().await;
        let refused = ada.try_publish("news", "x").unwrap_err();
        assert!(matches!(refused, ClientError::Lost(_)), "{refused:?}");
        let again = async {
            time::sleep(Duration::from_millis(50)).await;
            node("lost").await
        };
        let (receipt, second) = futures_util::join!(ada.publish("news", "x"), again);
        assert_eq!(receipt.unwrap().accepted_count(), 0, "attached, and nobody subscribes");
        assert!(ada.lost().is_none());
        drop(second);
        ada.closed().await;
        let hasty = Options::new().socket(socket("lost")).attach("ben").await;
        assert!(matches!(hasty, Err(ClientError::NobodyListens(_))), "{hasty:?}");
    });
}

#[cfg(not(madsim))]
#[test]
fn threads_without_futures_publish_ask_and_answer_over_a_blocking_client() {
    use synod_client::RequestError;

    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let node = task::Context::start("node", None, move || async move {
        let node = node("blocking").await;
        tell.send(()).unwrap();
        let _ = ended.await;
        drop(node);
    });
    told.recv().unwrap();
    let options = || Options::new().socket(socket("blocking"));
    let (ada, ben) = (options().attach_blocking("ada").unwrap(), options().attach_blocking("ben").unwrap());
    let (news, sums) = (ada.subscribe("news.>").unwrap(), ben.serve("sum").unwrap());
    for n in 0..100 {
        assert_eq!(ben.publish("news.eu", n.to_string()).unwrap().accepted_count(), 1);
    }
    for n in 0..100 {
        assert_eq!(*news.recv().unwrap().payload, *n.to_string().as_bytes());
    }
    assert!(news.recv_within(Duration::from_millis(1)).is_none());
    let serving = task::Context::start("serving", None, move || async move {
        let asked = sums.recv().unwrap();
        assert!(asked.is_request());
        asked.reply("6").unwrap();
        drop(sums.recv().unwrap());
        ben.detach().unwrap();
    });
    assert_eq!(&*ada.request("sum", "123").unwrap().payload, b"6");
    let dropped = ada.request("sum", "123").unwrap_err();
    assert!(matches!(dropped, ClientError::Request(RequestError::Abandoned(_))), "{dropped:?}");
    assert!(ada.is_attached().unwrap());
    drop(end);
    task::block_on(async move {
        serving.unwrap().join().await.unwrap();
        node.unwrap().join().await.unwrap();
    });
    while ada.is_attached().unwrap() {}
    let gone = ada.wait_attached(Duration::from_millis(1));
    assert!(!gone.unwrap());
}

#[cfg(not(madsim))]
#[test]
fn a_blocking_client_says_how_each_message_goes_and_wakes_whoever_waits_on_what_it_closes() {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let _node = task::Context::start("node", None, move || async move {
        let node = node("terms").await;
        tell.send(()).unwrap();
        let _ = ended.await;
        drop(node);
    });
    told.recv().unwrap();
    let options = || Options::new().socket(socket("terms")).capacity(1);
    let (ada, ben) = (options().attach_blocking("ada").unwrap(), options().attach_blocking("ben").unwrap());
    let news = std::sync::Arc::new(ada.subscribe("news").unwrap());
    assert!(news.next(Some(Duration::ZERO)).unwrap().is_none(), "nothing yet");

    let urgent = ben.with_priority(Priority::High).with_patience(Duration::from_millis(1));
    assert_eq!(urgent.publish_expiring("news", "1", SOON).unwrap().accepted_count(), 1);
    let full = urgent.publish("news", "2").unwrap_err();
    assert!(matches!(full, ClientError::Publish(_)), "{full}");
    let full = urgent.publish_expiring("news", "2", Duration::from_millis(3)).unwrap_err();
    assert!(matches!(full, ClientError::Publish(_)), "{full}");
    assert_eq!(news.recv().unwrap().priority, Priority::High);

    let mut loan = ben.loan(1 << 20).unwrap();
    loan.fill(7);
    assert_eq!(ben.publish("news", loan).unwrap().accepted_count(), 1);
    assert_eq!(*news.recv().unwrap().payload, *vec![7; 1 << 20]);

    let waiting = {
        let news = news.clone();
        task::Context::start("waiting", None, move || async move { news.next(None).map(|_| ()) }).unwrap()
    };
    news.close();
    let woken = task::block_on(waiting.join()).unwrap();
    assert!(matches!(woken, Err(ClientError::Ended)), "{woken:?}");
    drop(end);
}
