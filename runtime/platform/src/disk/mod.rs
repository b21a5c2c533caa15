//! Disk: operations and completions at the bottom, files as futures above.
//!
//! The arms know two calls: `submit(operation, id)` and `completions()`, in any order. Everything else is shared and so runs in
//! both builds: which completion belongs to which future, what happens to an operation whose future was dropped, short reads
//! and writes, records that survive a loss of power ([`append`]).
//!
//! Real: an io_uring owned by the thread that uses it, or threads that make blocking calls where the kernel refuses io_uring
//! ([`backend`] says which and why). Simulated: one disk a node with everything that can go wrong (`control` sets it). A [`File`]
//! belongs to its context; nothing here is `Send` but [`Buffer`].
//!
//! # What may go wrong, and the test that exists because of it
//!
//! All in `tests/disk_faults.rs`; the pure model's own tests are in `sim/model`.
//!
//! | fault | test |
//! |---|---|
//! | lost unsynced writes | `unsynced_writes_are_lost_with_the_power_and_synced_ones_are_not` |
//! | lost names | `a_file_whose_directory_was_not_synced_may_be_gone` |
//! | durable writes and older ones | `a_durable_write_outlives_a_loss_of_power_and_takes_nothing_older_along_over_itself` |
//! | failed durable write past the cache | `a_failed_durable_write_past_the_cache_leaves_each_sector_old_or_new_and_reads_tell_which` |
//! | no way past the cache, no allocation | `a_file_system_that_cannot_go_past_its_cache_or_allocate_says_so` |
//! | torn writes | `a_write_is_torn_between_sectors_by_a_loss_of_power` |
//! | misdirected write | `a_misdirected_write_is_seen_after_the_cache_is_gone` |
//! | bit rot at rest | `rot_turns_one_bit_of_a_synced_file` |
//! | short write, short read | `short_reads_and_writes_are_made_whole_above_the_seam` |
//! | `EIO` on read and write | `a_read_or_write_error_is_told_and_the_buffer_comes_back` |
//! | sync failure, as Linux has it | `a_sync_after_a_failed_sync_succeeds_and_the_data_is_lost` |
//! | `ENOSPC`, quota | `a_full_disk_and_a_used_up_quota_are_named` |
//! | slow disk | `a_slow_disk_takes_as_much_longer_as_it_was_told` |
//! | stalled disk | `a_stalled_disk_completes_nothing_until_it_goes_on` |
//! | completions out of order | `completions_come_out_of_order_and_find_their_futures` |
//! | crash of the process alone | `a_crashed_process_keeps_what_it_wrote_and_loses_its_locks` |
//! | operations of an older life | `an_operation_of_an_older_incarnation_changes_nothing` |
//! | wiped disk | `a_wiped_disk_is_empty` |
//! | read-only, permissions | `a_read_only_disk_and_a_denied_path_are_named` |

pub mod append;
mod buffer;
#[cfg(madsim)]
pub mod control;
mod error;
mod file;
mod operation;
mod queue;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

pub use buffer::{ALIGNMENT, Buffer};
pub use error::{DiskError, Failure};
pub use file::{
    File, create_directories, create_directory, list, metadata, remove, remove_directory, rename,
    sync_directory,
};
pub use operation::{Entry, Kind, Metadata, OpenOptions, SyncKind};
#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;

use arm::queue;

/// How a process wants its disk operations done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring where the kernel allows it, threads otherwise.
    #[default]
    Automatic,
    /// Threads that make blocking calls, although io_uring may be there.
    ThreadPool,
}

/// How disk operations are done here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// By an io_uring in each context.
    IoUring {
        /// What the kernel granted beyond the least: `single issuer, deferred task work`, or nothing.
        features: &'static str,
    },
    /// By threads that make blocking calls.
    ThreadPool {
        /// Why not by io_uring.
        reason: String,
    },
    /// By the simulator.
    Simulated,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::IoUring { features: "" } => write!(f, "io_uring"),
            Self::IoUring { features } => write!(f, "io_uring ({features})"),
            Self::ThreadPool { reason } => write!(f, "thread pool ({reason})"),
            Self::Simulated => write!(f, "simulated"),
        }
    }
}

/// Chooses for this process. Contexts that used their disk already stay with what they have, so call it first thing.
pub fn choose(choice: Choice) {
    arm::choose(choice);
}

/// How a context that starts now will do its disk operations, and why. Asks the kernel once.
pub fn backend() -> Backend {
    arm::backend()
}
