//! One direction of a link between two nodes: when what was sent arrives, twice, late, or not at all.
//!
//! Datagrams may be lost, doubled and overtaken. Frames of a stream ([`Flow`]) are never lost or overtaken: loss costs them
//! retransmissions, a cut holds them until it heals, and too much of either resets the connection. The model holds no
//! payloads; it is told lengths and answers times.

use crate::{Delay, Random};

/// The first wait before a lost stream frame is sent again, ns; it doubles each time, as TCP's does.
pub const RETRANSMIT_NS: u64 = 200_000_000;
/// A stream frame lost this many times in a row resets its connection.
pub const RETRANSMIT_LIMIT: u32 = 8;
/// Datagrams that would wait longer than this for a link of little bandwidth are dropped, as at a full queue, ns.
pub const QUEUE_LIMIT_NS: u64 = 500_000_000;

/// A link that goes up and down by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flapping {
    /// When the first up phase began, true ns.
    pub since_ns: u64,
    /// How long it stays up, ns.
    pub up_ns: u64,
    /// How long it stays down, ns.
    pub down_ns: u64,
}

/// What is wrong with one direction of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkFaults {
    /// How long one crossing takes.
    pub latency: Delay,
    /// How often one transmission is lost, `0.0..=1.0`.
    pub loss: f64,
    /// How often a datagram arrives twice.
    pub duplicate: f64,
    /// How often a datagram is held back by `reorder_by`, so that later ones overtake it.
    pub reorder: f64,
    /// How long such a datagram is held back.
    pub reorder_by: Delay,
    /// How often sending a stream frame resets its connection.
    pub reset: f64,
    /// Nothing passes in this direction. Both directions cut make a two-way partition.
    pub cut: bool,
    /// Nothing passes in its down phases.
    pub flapping: Option<Flapping>,
    /// Bytes a second, at least 1; `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Multiplies the drawn latency: a slow link.
    pub slow: u32,
}

impl Default for LinkFaults {
    /// A good local network: 50 to 500 µs, nothing lost.
    fn default() -> Self {
        Self {
            latency: Delay::between(50_000, 500_000),
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Delay::between(1_000_000, 10_000_000),
            reset: 0.0,
            cut: false,
            flapping: None,
            bandwidth: None,
            slow: 1,
        }
    }
}

/// One connection's order in one direction: no frame arrives before the one sent before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    last_arrival_ns: u64,
}

/// What becomes of a stream frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFate {
    /// It arrives at this true time, ns.
    Arrives(u64),
    /// The link is cut: it and all behind it wait; ask again when [`Link::is_cut`] is false, at the earliest at this
    /// time if the link heals by itself.
    Held(Option<u64>),
    /// The connection is reset now.
    Reset,
}

/// One direction of a link, with what is already on the wire.
#[derive(Clone, Debug, Default)]
pub struct Link {
    faults: LinkFaults,
    wire_free_ns: u64,
}

impl Link {
    /// A link under these faults, nothing on the wire.
    pub fn new(faults: LinkFaults) -> Self {
        Self { faults, wire_free_ns: 0 }
    }

    /// The faults in force.
    pub const fn faults(&self) -> &LinkFaults {
        &self.faults
    }

    /// Changes the faults. What is under way still arrives when it would have.
    pub fn set_faults(&mut self, faults: LinkFaults) {
        self.faults = faults;
    }

    /// Cuts or heals this direction, all else unchanged.
    pub fn set_cut(&mut self, cut: bool) {
        self.faults.cut = cut;
    }

    /// Whether nothing passes at this time.
    pub fn is_cut(&self, now_ns: u64) -> bool {
        self.faults.cut || self.faults.flapping.is_some_and(|flapping| flapping.up_again(now_ns).is_some())
    }

    /// When a datagram of this length arrives: never, once, or twice. True ns, in no order.
    pub fn datagram(&mut self, now_ns: u64, bytes: u64, random: &mut impl Random) -> Arrivals {
        let mut arrivals = Arrivals::default();
        if self.is_cut(now_ns) || random.chance(self.faults.loss) {
            synod_probe::reach!("link.datagram_lost");
            return arrivals;
        }
        if self.wire_free_ns.saturating_sub(now_ns) > QUEUE_LIMIT_NS {
            synod_probe::reach!("link.queue_overflow");
            return arrivals;
        }
        let sent = self.transmit(now_ns, bytes);
        let mut arrival = sent.saturating_add(self.crossing(random));
        if random.chance(self.faults.reorder) {
            synod_probe::reach!("link.datagram_held_back");
            arrival = arrival.saturating_add(self.faults.reorder_by.draw(random));
        }
        arrivals.push(arrival);
        if random.chance(self.faults.duplicate) {
            synod_probe::reach!("link.datagram_duplicated");
            arrivals.push(sent.saturating_add(self.crossing(random)));
        }
        arrivals
    }

    /// What becomes of the next frame of a connection.
    pub fn frame(&mut self, flow: &mut Flow, now_ns: u64, bytes: u64, random: &mut impl Random) -> FrameFate {
        if self.is_cut(now_ns) {
            let heals =
                if self.faults.cut { None } else { self.faults.flapping.and_then(|f| f.up_again(now_ns)) };
            return FrameFate::Held(heals);
        }
        if random.chance(self.faults.reset) {
            synod_probe::reach!("link.connection_reset");
            return FrameFate::Reset;
        }
        let mut sent = self.transmit(now_ns, bytes);
        let mut wait = RETRANSMIT_NS;
        let mut tries = 0;
        while random.chance(self.faults.loss) {
            tries += 1;
            if tries == RETRANSMIT_LIMIT {
                synod_probe::reach!("link.connection_given_up");
                return FrameFate::Reset;
            }
            synod_probe::reach!("link.frame_retransmitted");
            sent = sent.saturating_add(wait);
            wait *= 2;
        }
        let arrival = sent.saturating_add(self.crossing(random)).max(flow.last_arrival_ns);
        flow.last_arrival_ns = arrival;
        FrameFate::Arrives(arrival)
    }

    /// Puts it on the wire behind what is there; answers when its last byte has left.
    fn transmit(&mut self, now_ns: u64, bytes: u64) -> u64 {
        let Some(bandwidth) = self.faults.bandwidth else {
            return now_ns;
        };
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(bandwidth.max(1));
        let left = self.wire_free_ns.max(now_ns).saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        self.wire_free_ns = left;
        left
    }

    fn crossing(&self, random: &mut impl Random) -> u64 {
        self.faults.latency.draw(random).saturating_mul(u64::from(self.faults.slow.max(1)))
    }
}

impl Flapping {
    /// When it comes up again, if it is down at this time.
    fn up_again(&self, now_ns: u64) -> Option<u64> {
        let period = self.up_ns.saturating_add(self.down_ns).max(1);
        let phase = now_ns.checked_sub(self.since_ns)? % period;
        (phase >= self.up_ns).then(|| now_ns + (period - phase))
    }
}

/// The arrivals of one datagram: at most two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    first: Option<u64>,
    second: Option<u64>,
}

impl Arrivals {
    fn push(&mut self, at: u64) {
        if self.first.is_none() {
            self.first = Some(at);
        } else {
            self.second = Some(at);
        }
    }

    /// How many times it arrives.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// The times, true ns.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.first.into_iter().chain(self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;
    use proptest::prelude::*;

    fn faults() -> impl Strategy<Value = LinkFaults> {
        (0.0f64..0.5, 0.0f64..0.5, 0.0f64..0.5, 0.0f64..0.1, prop::option::of(1u64..1_000_000), 1u32..10)
            .prop_map(|(loss, duplicate, reorder, reset, bandwidth, slow)| LinkFaults {
                loss,
                duplicate,
                reorder,
                reset,
                bandwidth,
                slow,
                ..LinkFaults::default()
            })
    }

    proptest! {
        #[test]
        fn frames_of_a_flow_arrive_in_order_and_never_in_the_past(
            seed: u64, faults in faults(), sends in prop::collection::vec((0u64..5_000_000, 0u64..10_000), 1..60)
        ) {
            let mut random = Seeded::new(seed);
            let mut link = Link::new(faults);
            let mut flow = Flow::default();
            let (mut now, mut last) = (0, 0);
            for (gap, bytes) in sends {
                now += gap;
                match link.frame(&mut flow, now, bytes, &mut random) {
                    FrameFate::Arrives(at) => {
                        prop_assert!(at >= now && at >= last);
                        last = at;
                    }
                    FrameFate::Held(_) => prop_assert!(false, "nothing is cut"),
                    FrameFate::Reset => break,
                }
            }
        }

        #[test]
        fn a_datagram_arrives_at_most_twice_and_never_in_the_past(seed: u64, faults in faults(), now in 0u64..1 << 40) {
            let mut random = Seeded::new(seed);
            let mut link = Link::new(faults);
            for bytes in 0..50 {
                let arrivals = link.datagram(now, bytes, &mut random);
                prop_assert!(arrivals.count() <= 2);
                prop_assert!(arrivals.iter().all(|at| at >= now));
            }
        }

        #[test]
        fn a_cut_link_passes_nothing_and_a_healed_one_does(seed: u64, now in 0u64..1 << 40) {
            let mut random = Seeded::new(seed);
            let mut link = Link::new(LinkFaults { cut: true, ..LinkFaults::default() });
            prop_assert_eq!(link.datagram(now, 1, &mut random).count(), 0);
            prop_assert_eq!(link.frame(&mut Flow::default(), now, 1, &mut random), FrameFate::Held(None));
            link.set_cut(false);
            prop_assert_eq!(link.datagram(now, 1, &mut random).count(), 1);
        }
    }

    #[test]
    fn a_flapping_link_says_when_it_comes_back() {
        let flapping = Some(Flapping { since_ns: 1_000, up_ns: 100, down_ns: 50 });
        let mut link = Link::new(LinkFaults { flapping, ..LinkFaults::default() });
        assert!(!link.is_cut(0) && !link.is_cut(1_099) && link.is_cut(1_100) && link.is_cut(1_149));
        assert!(!link.is_cut(1_150));
        let held = link.frame(&mut Flow::default(), 1_120, 1, &mut Seeded::new(0));
        assert_eq!(held, FrameFate::Held(Some(1_150)));
    }

    #[test]
    fn loss_duplication_and_reordering_of_datagrams_happen_when_asked_for() {
        let mut random = Seeded::new(11);
        let bad = LinkFaults { loss: 0.2, duplicate: 0.2, reorder: 0.2, ..LinkFaults::default() };
        let mut link = Link::new(bad);
        let (mut lost, mut doubled, mut overtaken, mut latest) = (0, 0, 0, 0);
        for i in 0..1_000u64 {
            let arrivals = link.datagram(i * 1_000_000, 100, &mut random);
            lost += usize::from(arrivals.count() == 0);
            doubled += usize::from(arrivals.count() == 2);
            for at in arrivals.iter() {
                overtaken += usize::from(at < latest);
                latest = latest.max(at);
            }
        }
        assert!(lost > 100 && doubled > 100 && overtaken > 100, "{lost} {doubled} {overtaken}");
    }

    #[test]
    fn a_narrow_link_delays_streams_and_drops_datagrams_when_its_queue_is_full() {
        let mut random = Seeded::new(2);
        let narrow = LinkFaults { bandwidth: Some(1_000), latency: Delay::NONE, ..LinkFaults::default() };
        let mut link = Link::new(narrow);
        let mut flow = Flow::default();
        assert_eq!(link.frame(&mut flow, 0, 500, &mut random), FrameFate::Arrives(500_000_000));
        assert_eq!(link.frame(&mut flow, 0, 500, &mut random), FrameFate::Arrives(1_000_000_000));
        assert_eq!(link.datagram(0, 1, &mut random).count(), 0, "the queue is a second long");
        assert_eq!(link.datagram(1_000_000_000, 1, &mut random).count(), 1);
    }

    #[test]
    fn a_stream_over_a_dead_link_is_reset_in_the_end() {
        let mut link = Link::new(LinkFaults { loss: 1.0, ..LinkFaults::default() });
        assert_eq!(link.frame(&mut Flow::default(), 0, 1, &mut Seeded::new(0)), FrameFate::Reset);
    }
}
