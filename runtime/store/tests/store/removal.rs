//! Logs that are removed: nothing of them is left, their names begin anew, their numbers never come back; all the same wherever
//! power is lost.

use synod_platform::testing;
use synod_store::{Look, Store, WriteError};

use crate::common::{directory, entries, payloads, small};

#[test]
fn a_removed_log_is_gone_with_all_that_was_its_own_and_its_name_begins_anew() {
    testing::run(1, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let (kept, log) = (store.log("kept").unwrap(), store.log("log").unwrap());
        drop(kept.append(payloads(0..3)).await.unwrap());
        drop(log.append(payloads(10..20)).await.unwrap());
        drop(log.put("vote", b"7").await.unwrap());
        log.compact(5, "state".into()).await.unwrap();
        store.remove("log").await.unwrap();
        store.remove("nobody").await.unwrap();
        assert_eq!(store.logs(), ["kept"]);
        assert_eq!((log.first(), log.last(), log.get("vote")), (1, 0, None));
        let removed = WriteError::Removed { log: "log".into() };
        assert_eq!(log.append(payloads(0..1)).await.err(), Some(removed.clone()));
        assert_eq!(log.put("vote", b"8").await.err(), Some(removed.clone()));
        assert_eq!(log.purge(3).await.err(), Some(removed));

        let again = store.log("log").unwrap();
        assert_eq!((again.last(), again.get("vote"), again.snapshot().await), (0, None, Ok(None)));
        assert_eq!(again.append(payloads(30..32)).await.unwrap().0, 1..3);
        store.close().await;
        let look = Look::open(place.path(), |_| {}).await.unwrap();
        assert_eq!(
            (look.range("log"), look.read("log", 1..3, 1 << 20).await.unwrap().len()),
            (Some(1..3), 2)
        );
        drop(look);
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let (kept, again) = (store.log("kept").unwrap(), store.log("log").unwrap());
        assert_eq!((entries(&kept).await, entries(&again).await), (vec![0, 1, 2], vec![30, 31]));
        assert_eq!((again.get("vote"), again.snapshot().await), (None, Ok(None)));
    });
}

#[cfg(madsim)]
mod amid_power_losses {
    use std::cell::Cell;
    use std::rc::Rc;

    use synod_platform::disk::control::{self, DiskFaults};
    use synod_platform::simulation;
    use synod_platform::testing::{self, power_loss_everywhere};
    use synod_store::{Store, WriteError};

    use crate::common::{TINY, entries, payload, payloads};

    /// What is known outside of the store.
    #[derive(Default)]
    struct Ledger {
        /// How many logs of that name were removed for certain.
        generation: Cell<u64>,
        /// How many entries of the present one are durable for certain.
        acknowledged: Cell<u64>,
        /// Its removal was asked for.
        ending: Cell<bool>,
    }

    impl Ledger {
        fn begin_anew(&self) {
            self.generation.set(self.generation.get() + 1);
            self.acknowledged.set(0);
            self.ending.set(false);
        }

        /// Compares what an opening found: the present log, or nothing of it.
        async fn found(&self, store: &Store) {
            if !store.logs().contains(&"log".to_owned()) {
                assert!(self.acknowledged.get() == 0 || self.ending.get(), "acknowledged is durable");
                if self.ending.get() {
                    self.begin_anew();
                }
            }
            let log = store.log("log").unwrap();
            let generation = self.generation.get();
            let snapshot = log.snapshot().await.unwrap();
            assert!(snapshot.is_none_or(|snapshot| *snapshot.content == generation.to_le_bytes()));
            assert!(log.get("value").is_none_or(|value| *value == generation.to_le_bytes()));
            assert!(log.last() >= self.acknowledged.get(), "acknowledged is durable");
            let numbers = entries(&log).await;
            assert!(numbers.iter().all(|number| number / 100 == generation), "{numbers:?} in {generation}");
            self.ending.set(false);
        }
    }

    async fn live(ledger: Rc<Ledger>) {
        let (store, _) = Store::open("/store", TINY).await.unwrap();
        ledger.found(&store).await;
        for _ in 0..2 {
            let log = store.log("log").unwrap();
            let generation = ledger.generation.get();
            for _ in 0..3 {
                let number = generation * 100 + log.last() + 1;
                let (range, durable) = log.append(vec![payload(number)]).await.unwrap();
                durable.await.unwrap();
                ledger.acknowledged.set(range.start);
            }
            log.put("value", &generation.to_le_bytes()).await.unwrap().await.unwrap();
            let content = generation.to_le_bytes().to_vec().into();
            log.compact(log.last() - 1, content).await.unwrap();
            ledger.ending.set(true);
            store.remove("log").await.unwrap();
            ledger.begin_anew();
            assert!(store.logs().is_empty());
        }
        store.close().await;
        let (store, _) = Store::open("/store", TINY).await.unwrap();
        ledger.found(&store).await;
        store.close().await;
    }

    #[test]
    fn a_name_waits_for_snapshots_that_could_not_be_removed() {
        testing::run(2, || async {
            let (store, _) = Store::open("/store", TINY).await.unwrap();
            let log = store.log("log").unwrap();
            drop(log.append(payloads(0..9)).await.unwrap());
            log.compact(5, "old".into()).await.unwrap();
            let node = simulation::current().node;
            let is_snapshot = |path: &String| path.ends_with(".snapshot");
            let denied = control::files(node).into_iter().filter(is_snapshot).collect();
            control::change(node, |faults| faults.denied = denied);
            assert!(matches!(store.remove("log").await, Err(WriteError::Disk(_))));
            let early = store.log("log").unwrap().append(payloads(0..1)).await.err();
            assert_eq!(early, Some(WriteError::Removed { log: "log".into() }));
            control::restore(node);
            store.remove("log").await.unwrap();
            assert!(!control::files(node).iter().any(is_snapshot));
            let again = store.log("log").unwrap();
            assert_eq!(
                (again.append(payloads(0..1)).await.unwrap().0, again.snapshot().await),
                (1..2, Ok(None))
            );
        });
    }

    #[test]
    fn a_log_is_there_or_removed_wherever_power_is_lost() {
        let worlds: u64 =
            (0..4).map(|seed| power_loss_everywhere(seed, &DiskFaults::default(), 1, live)).sum();
        assert!(worlds > 4 * 100, "only {worlds} worlds");
    }

    #[test]
    fn power_lost_again_in_the_next_life_changes_nothing_of_that() {
        let worlds = power_loss_everywhere(10, &DiskFaults::default(), 2, |ledger| async move {
            let (store, _) = Store::open("/store", TINY).await.unwrap();
            Ledger::found(&ledger, &store).await;
            let log = store.log("log").unwrap();
            let (range, durable) =
                log.append(vec![payload(ledger.generation.get() * 100 + log.last() + 1)]).await.unwrap();
            durable.await.unwrap();
            ledger.acknowledged.set(range.start);
            ledger.ending.set(true);
            store.remove("log").await.unwrap();
            ledger.begin_anew();
            store.close().await;
        });
        assert!(worlds > 20 * 20, "only {worlds} worlds");
    }
}
