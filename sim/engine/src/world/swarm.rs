//! A swarm: the faults that this seed draws, spread over the time before the heal.
//!
//! Time is cut into slots; each slot gets one fault of a kind drawn from the list, at a time drawn within it, and is over before the
//! next begins. At most one node is harmed at a time, so all but one are alive. Source: swarm testing, Groce et al., ISSTA 2012: each
//! seed first draws which kinds it uses at all.

use std::time::Duration;

use synod_control::units::{self, DelayRange, Probability, SignedDuration};
use synod_platform::random;

use super::fleet::WARM_UP;
use super::nanoseconds;
use crate::scenario::Scenario;
use crate::scenario::form::{ClockFault, Direction, DiskFault, Fault, LinkFault, Partition, SwarmKind};

/// The longest slot.
const SLOT: Duration = Duration::from_secs(5);

/// This seed's faults.
pub fn draw(scenario: &Scenario) -> Vec<Fault> {
    let (Some(swarm), Some(heal)) = (&scenario.swarm, &scenario.heal) else { return Vec::new() };
    let mut kinds: Vec<SwarmKind> = swarm.from.iter().copied().filter(|_| random::chance(0.5)).collect();
    if kinds.is_empty() {
        kinds.clone_from(&swarm.from);
    }
    let whole = heal.at.get().saturating_sub(WARM_UP);
    if kinds.is_empty() || whole.is_zero() {
        return Vec::new();
    }
    let slots = (nanoseconds(whole) / nanoseconds(SLOT)).max(1);
    let slot = whole / u32::try_from(slots).unwrap_or(u32::MAX);
    let mut faults = Vec::new();
    for place in 0..u32::try_from(slots).unwrap_or(u32::MAX) {
        let kind = kinds[random::below(kinds.len() as u64) as usize];
        let begin = WARM_UP + slot * place + between(Duration::ZERO, slot / 4);
        let lasts = between(slot / 8, slot / 2);
        let who = format!("n{}", 1 + random::below(u64::from(scenario.cluster.nodes)));
        faults.push(fault(kind, begin, lasts, who));
    }
    faults
}

fn between(low: Duration, high: Duration) -> Duration {
    low + Duration::from_nanos(random::below(nanoseconds(high.saturating_sub(low)).max(1)))
}

fn fault(kind: SwarmKind, begin: Duration, lasts: Duration, who: String) -> Fault {
    let at = Some(units::Duration(begin));
    let base = Fault { at, lasts: Some(units::Duration(lasts)), ..Fault::default() };
    let down = Fault { at, restart: Some(units::Duration(lasts)), ..Fault::default() };
    match kind {
        SwarmKind::Crash => Fault { crash: Some(who), ..down },
        SwarmKind::PowerLoss => Fault { power_loss: Some(who), ..down },
        SwarmKind::Pause => Fault { pause: Some(who), ..base },
        SwarmKind::Partition => {
            let direction = match random::below(3) {
                0 => Direction::Inbound,
                1 => Direction::Outbound,
                _ => Direction::Both,
            };
            let flapping = random::chance(0.25).then(|| units::Duration(lasts / 6));
            let partition = Partition { isolate: who, from: Vec::new(), direction, flapping };
            Fault { partition: Some(partition), ..base }
        }
        SwarmKind::Loss => {
            let loss = Probability::new(0.05 + random::below(30) as f64 / 100.0);
            Fault { link: Some(LinkFault { node: Some(who), loss, ..LinkFault::default() }), ..base }
        }
        SwarmKind::Reorder => {
            let reorder = Probability::new(0.2);
            Fault { link: Some(LinkFault { node: Some(who), reorder, ..LinkFault::default() }), ..base }
        }
        SwarmKind::Delay => {
            let high = between(Duration::from_millis(20), Duration::from_millis(200));
            let delay = Some(DelayRange { low: high / 10, high });
            Fault { link: Some(LinkFault { node: Some(who), delay, ..LinkFault::default() }), ..base }
        }
        SwarmKind::Reset => Fault { reset: Some(who), at, ..Fault::default() },
        SwarmKind::Clock => {
            let length = between(Duration::from_secs(1), Duration::from_secs(120));
            let step = Some(SignedDuration { negative: random::chance(0.5), length });
            Fault { clock: Some(ClockFault { node: who, step, drift_ppm: None }), ..base }
        }
        SwarmKind::SlowDisk => {
            let high = between(Duration::from_millis(10), Duration::from_millis(100));
            let disk = DiskFault {
                node: who,
                latency: Some(DelayRange { low: high / 4, high }),
                fsync_error: None,
                write_error: None,
                short_write: None,
                full: false,
                stalled: false,
            };
            Fault { disk: Some(disk), ..base }
        }
    }
}
