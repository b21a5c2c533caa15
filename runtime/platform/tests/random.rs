//! Conformance of `random`, the same bodies on both arms; then what only the simulated arm can show.

use synod_platform::{random, testing};

#[test]
fn random_bytes_fill_the_whole_buffer_and_differ_from_call_to_call() {
    testing::run(1, || async {
        let mut a = [0_u8; 4099];
        let mut b = [0_u8; 4099];
        random::fill(&mut a);
        random::fill(&mut b);
        assert_ne!(a, b);
        assert!(a.chunks(64).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
        random::fill(&mut []);
    });
}

#[test]
fn numbers_stay_below_their_bound_and_chances_keep_their_odds() {
    testing::run(2, || async {
        let mut seen = [false; 10];
        for _ in 0..1_000 {
            seen[random::below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
        assert!(!random::chance(0.0) && random::chance(1.0));
        let heads = (0..10_000).filter(|_| random::chance(0.5)).count();
        assert!((4_500..5_500).contains(&heads), "{heads}");
        assert_ne!(random::u64(), random::u64());
    });
}

#[cfg(not(madsim))]
#[test]
fn two_threads_draw_different_numbers() {
    let draw = || std::thread::spawn(|| (0..4).map(|_| random::u64()).collect::<Vec<_>>()).join().unwrap();
    assert_ne!(draw(), draw());
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use synod_platform::time;

    /// What code can see of chance and time in a run, by every door we know.
    fn seen(seed: u64) -> (Vec<u64>, [u8; 16], u64, u64, Vec<u32>, std::time::SystemTime) {
        testing::run(seed, || async {
            let numbers = (0..8).map(|_| random::u64()).collect();
            let mut bytes = [0; 16];
            random::fill(&mut bytes);
            time::sleep(time::Duration::from_millis(random::below(100))).await;
            // A hash map of the standard library: its order shows whether its keys are closed off.
            let mut map = std::collections::HashMap::new();
            for n in 0..50_u32 {
                map.insert(n, ());
            }
            let order = map.into_keys().collect();
            (
                numbers,
                bytes,
                time::now().as_nanos(),
                time::wall().as_nanos(),
                order,
                std::time::SystemTime::now(),
            )
        })
    }

    #[test]
    fn no_thread_of_the_host_can_be_started_inside_a_run() {
        testing::run(1, || async {
            let refused = std::panic::catch_unwind(|| std::thread::Builder::new().spawn(|| ()).is_ok());
            assert!(!matches!(refused, Ok(true)), "a thread's timing would be entropy");
        });
    }

    #[test]
    fn one_seed_shows_the_same_numbers_clocks_and_hash_order_and_another_seed_does_not() {
        let first = seen(7);
        assert_eq!(first, seen(7));
        let other = seen(8);
        assert_ne!(first.0, other.0);
        assert_ne!(first.1, other.1);
        assert_ne!(first.2, other.2);
    }
}
