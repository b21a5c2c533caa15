//! The frame: headers, ids, priorities, CRC-32C.
