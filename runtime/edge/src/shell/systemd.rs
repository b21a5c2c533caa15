//! What a service manager is told: readiness, state, the end, and that the node is alive. Told to nobody if none has started it.

use std::time::Duration;

use sd_notify::NotifyState;

/// What can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// The node takes work.
    Ready,
    /// It finishes what it has, which may take this long.
    Stopping(Duration),
    /// It is alive; wanted every [`watchdog`].
    Alive,
    /// One line for people.
    Status(String),
}

/// Tells a service manager, if one has started this process. What it does not get it does not need: the watchdog's bite is the one
/// consequence, and that is what it is for.
pub fn tell(what: &Tell) {
    let told = match what {
        Tell::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Tell::Stopping(within) => {
            let microseconds = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
            sd_notify::notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(microseconds)])
        }
        Tell::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        Tell::Status(line) => {
            let line: String = line.chars().filter(|c| !c.is_control()).collect();
            sd_notify::notify(&[NotifyState::Status(&line)])
        }
    };
    if told.is_err() {
        synod_probe::reach!("edge.service-manager-deaf");
    }
}

/// How often the service manager wants to hear that the node is alive, if it does.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
