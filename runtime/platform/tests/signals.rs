//! Conformance of `signals`: the same body on both arms, each with its way to send a signal.

use synod_platform::signals::{Signal, Signals};
use synod_platform::testing;
use synod_platform::time::{Duration, timeout};

#[cfg(not(madsim))]
fn send(signal: Signal) {
    use rustix::process::{Signal as Os, getpid, kill_process};
    let os = if signal == Signal::Interrupt { Os::INT } else { Os::TERM };
    kill_process(getpid(), os).unwrap();
}

#[cfg(madsim)]
fn send(signal: Signal) {
    use synod_platform::simulation::Node;
    synod_platform::signals::control::send(Node::current().unwrap(), signal);
}

#[test]
fn the_first_and_the_second_signal_are_told_each_by_its_name() {
    testing::run(1, || async {
        let mut signals = Signals::listen().unwrap();
        for signal in [Signal::Terminate, Signal::Interrupt, Signal::Terminate] {
            send(signal);
            let heard = timeout(Duration::from_secs(60), signals.next()).await;
            assert_eq!(heard, Ok(signal));
        }
        assert!(timeout(Duration::from_millis(3), signals.next()).await.is_err());
        assert_eq!((Signal::Interrupt.to_string(), Signal::Terminate.number()), ("SIGINT".into(), 15));
    });
}

#[cfg(madsim)]
#[test]
fn a_signal_that_nobody_listens_for_kills_the_node_and_so_does_one_after_the_listener_is_gone() {
    use synod_platform::signals::control;
    use synod_platform::simulation::{self, Exit, Node};
    use synod_platform::time::sleep;

    simulation::run(1, Duration::from_secs(60), || async {
        let deaf = Node::create("deaf", [10, 0, 0, 1].into(), std::future::pending);
        let listens = Node::create("listens", [10, 0, 0, 2].into(), || async {
            let mut signals = Signals::listen().unwrap();
            signals.next().await;
            drop(signals);
            std::future::pending::<()>().await;
        });
        sleep(Duration::from_millis(5)).await;
        for node in [deaf, listens] {
            control::send(node, Signal::Terminate);
        }
        assert_eq!(deaf.exited().await, Exit::Killed);
        sleep(Duration::from_millis(5)).await;
        assert!(listens.is_up());
        control::send(listens, Signal::Terminate);
        assert!(!listens.is_up());
        listens.restart();
        sleep(Duration::from_millis(5)).await;
        control::send(listens, Signal::Interrupt);
        assert!(listens.is_up(), "the new life listens for itself");
    })
    .unwrap();
}
