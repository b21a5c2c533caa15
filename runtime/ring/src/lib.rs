//! Lock-free byte ring, mailbox and doorbell over any region.
