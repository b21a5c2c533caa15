//! Memory that can be refused: a budget of bytes, and refusals by order or by chance.
//!
//! It counts and says yes or no; the bytes themselves are the caller's. What was granted must be given back.

use crate::random::Random;

/// When an allocation is refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryFaults {
    /// The most that may be held at once, bytes; `None` for no limit.
    pub budget: Option<u64>,
    /// How often an allocation is refused although there is room, `0.0..=1.0`.
    pub refuse: f64,
    /// How many of the next allocations are refused in any case.
    pub refuse_next: u32,
}

/// Why an allocation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It would not fit the budget.
    OverBudget,
    /// The fault plan said so.
    Told,
}

/// One node's memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    faults: MemoryFaults,
    held: u64,
    refused: u64,
}

impl Memory {
    /// Memory under these faults, nothing held.
    pub fn new(faults: MemoryFaults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// Changes the faults; what is held stays held, even beyond a smaller budget.
    pub fn set_faults(&mut self, faults: MemoryFaults) {
        self.faults = faults;
    }

    /// Asks for this many bytes.
    pub fn allocate(&mut self, bytes: u64, random: &mut impl Random) -> Result<(), Refused> {
        let refusal = if self.faults.refuse_next > 0 {
            self.faults.refuse_next -= 1;
            Some(Refused::Told)
        } else if self.faults.budget.is_some_and(|budget| self.held.saturating_add(bytes) > budget) {
            Some(Refused::OverBudget)
        } else if random.chance(self.faults.refuse) {
            Some(Refused::Told)
        } else {
            None
        };
        match refusal {
            Some(reason) => {
                self.refused += 1;
                synod_probe::reach!("memory.allocation_refused");
                Err(reason)
            }
            None => {
                self.held = self.held.saturating_add(bytes);
                Ok(())
            }
        }
    }

    /// Gives back what was granted.
    pub fn free(&mut self, bytes: u64) {
        assert!(bytes <= self.held, "{bytes} bytes given back, {} held", self.held);
        self.held -= bytes;
    }

    /// The process died: everything it held is free again.
    pub fn crash(&mut self) {
        self.held = 0;
    }

    /// Bytes held now.
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// How many allocations were refused so far.
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_budget_is_never_exceeded_and_a_refusal_takes_nothing(
            seed: u64, budget in 0u64..10_000, refuse in 0.0f64..0.5, asks in prop::collection::vec(0u64..3_000, 0..50)
        ) {
            let mut random = Seeded::new(seed);
            let mut memory = Memory::new(MemoryFaults { budget: Some(budget), refuse, refuse_next: 0 });
            let mut granted = Vec::new();
            for bytes in asks {
                let before = memory.held();
                match memory.allocate(bytes, &mut random) {
                    Ok(()) => granted.push(bytes),
                    Err(Refused::OverBudget) => prop_assert!(before + bytes > budget),
                    Err(Refused::Told) => prop_assert!(before + bytes <= budget),
                }
                prop_assert_eq!(memory.held(), granted.iter().sum::<u64>());
                prop_assert!(memory.held() <= budget);
                if granted.len() > 5 {
                    memory.free(granted.swap_remove(0));
                }
            }
        }
    }

    #[test]
    fn the_next_allocations_are_refused_when_told_and_no_more() {
        let mut random = Seeded::new(0);
        let mut memory = Memory::new(MemoryFaults { refuse_next: 2, ..MemoryFaults::default() });
        assert_eq!(memory.allocate(1, &mut random), Err(Refused::Told));
        assert_eq!(memory.allocate(1, &mut random), Err(Refused::Told));
        assert_eq!(memory.allocate(1, &mut random), Ok(()));
        assert_eq!((memory.held(), memory.refused()), (1, 2));
    }
}
