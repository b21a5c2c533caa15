//! The median and its 95 % interval by order statistics: no assumption about how the figures are distributed.

/// A median with the interval that covers the true one 19 times of 20.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The middle figure.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Summarises one figure a round. With fewer than six rounds no such interval exists, and the extremes are given.
pub fn summarise(figures: &[f64]) -> Summary {
    assert!(!figures.is_empty(), "a summary of nothing");
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0;
    let rank = lower_rank(n);
    Summary { median, low: sorted[rank], high: sorted[n - 1 - rank] }
}

/// The largest index from either end that leaves at most 2.5 % outside: the binomial with a half.
fn lower_rank(n: usize) -> usize {
    let mut probability = 0.5f64.powi(n as i32);
    let mut outside = probability;
    let mut rank = 0;
    while outside <= 0.025 {
        rank += 1;
        probability *= (n + 1 - rank) as f64 / rank as f64;
        outside += probability;
    }
    rank.saturating_sub(1)
}

/// The figure below which a share of the sorted samples lies.
pub fn percentile(sorted: &[u32], share: f64) -> f64 {
    assert!(!sorted.is_empty(), "a percentile of nothing");
    f64::from(sorted[((sorted.len() - 1) as f64 * share).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_rounds_give_the_fourth_from_either_end() {
        let figures: Vec<f64> = (1..=15).rev().map(f64::from).collect();
        assert_eq!(summarise(&figures), Summary { median: 8.0, low: 4.0, high: 12.0 });
    }

    #[test]
    fn few_rounds_give_their_extremes() {
        assert_eq!(summarise(&[3.0, 1.0]), Summary { median: 2.0, low: 1.0, high: 3.0 });
    }

    #[test]
    fn percentiles_come_from_the_sorted_samples() {
        let samples: Vec<u32> = (0..=100).collect();
        assert_eq!((percentile(&samples, 0.5), percentile(&samples, 0.99)), (50.0, 99.0));
    }
}
