//! Which of several instances to ask next.
//!
//! Round robin over those that may be asked at all: an instance whose breaker is due for a probe takes its turn like the others
//! (a probe is the only way it can come back), one that refuses is passed over. Where work takes long, the least loaded is asked instead,
//! and turns decide among equals.

/// Picks an instance: the first, from `turn` on and around, for which `may_be_asked` says yes. `None` when there is none.
///
/// ```
/// use synod_resilience::choose::choose;
/// assert_eq!(choose(3, 4, |i| i != 1), Some(2));
/// assert_eq!(choose(3, 4, |_| false), None);
/// ```
pub fn choose(instances: usize, turn: u64, mut may_be_asked: impl FnMut(usize) -> bool) -> Option<usize> {
    around(instances, turn).find(|&i| may_be_asked(i))
}

/// Picks the instance of least `load` among those for which `may_be_asked` says yes; of equals the first, from `turn` on and around.
///
/// ```
/// use synod_resilience::choose::choose_least;
/// assert_eq!(choose_least(3, 0, |i| i != 1, |&i| [2, 0, 1][i]), Some(2));
/// ```
pub fn choose_least(
    instances: usize,
    turn: u64,
    mut may_be_asked: impl FnMut(usize) -> bool,
    load: impl FnMut(&usize) -> usize,
) -> Option<usize> {
    around(instances, turn).filter(|&i| may_be_asked(i)).min_by_key(load)
}

/// All instances, from `turn` on and around.
fn around(instances: usize, turn: u64) -> impl Iterator<Item = usize> {
    let count = instances as u64;
    (0..count).map(move |step| ((turn % count + step) % count) as usize)
}

#[cfg(test)]
mod tests {
    use super::{choose, choose_least};

    #[test]
    fn turns_go_round_all_that_may_be_asked() {
        let asked: Vec<_> = (0..6).map(|turn| choose(3, turn, |_| true)).collect();
        assert_eq!(asked, [Some(0), Some(1), Some(2), Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn the_least_loaded_is_asked_and_turns_decide_among_equals() {
        let load = [1, 0, 0];
        let asked: Vec<_> = (0..3).map(|turn| choose_least(3, turn, |_| true, |&i| load[i])).collect();
        assert_eq!(asked, [Some(1), Some(1), Some(2)]);
        assert_eq!(choose_least(3, 0, |i| i == 0, |&i| load[i]), Some(0));
        assert_eq!(choose_least(0, 3, |_| true, |_| 0), None);
    }

    #[test]
    fn one_that_refuses_is_passed_over_and_nobody_is_no_answer() {
        assert!((0..9).all(|turn| choose(3, turn, |i| i == 2) == Some(2)));
        assert_eq!(choose(0, 7, |_| true), None);
        assert_eq!(choose(2, u64::MAX, |_| false), None);
    }
}
