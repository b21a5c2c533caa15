//! Which of several instances to ask next.
//!
//! Round robin over those that may be asked at all: an instance whose breaker is due for a probe takes its turn like the others
//! (a probe is the only way it can come back), one that refuses is passed over. Load is not looked at here.

/// Picks an instance: the first, from `turn` on and around, for which `may_be_asked` says yes. `None` when there is none.
///
/// ```
/// use synod_resilience::choose::choose;
/// assert_eq!(choose(3, 4, |i| i != 1), Some(2));
/// assert_eq!(choose(3, 4, |_| false), None);
/// ```
pub fn choose(instances: usize, turn: u64, mut may_be_asked: impl FnMut(usize) -> bool) -> Option<usize> {
    let count = instances as u64;
    (0..count).map(|step| ((turn % count + step) % count) as usize).find(|&i| may_be_asked(i))
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn turns_go_round_all_that_may_be_asked() {
        let asked: Vec<_> = (0..6).map(|turn| choose(3, turn, |_| true)).collect();
        assert_eq!(asked, [Some(0), Some(1), Some(2), Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn one_that_refuses_is_passed_over_and_nobody_is_no_answer() {
        assert!((0..9).all(|turn| choose(3, turn, |i| i == 2) == Some(2)));
        assert_eq!(choose(0, 7, |_| true), None);
        assert_eq!(choose(2, u64::MAX, |_| false), None);
    }
}
