//! The store from outside: on a good disk in either build, on a bad one in the simulator, and byte by byte.

mod common;
mod damage;
#[cfg(madsim)]
mod degraded;
mod encrypted;
mod golden;
mod good_disk;
#[cfg(madsim)]
mod interrupted;
#[cfg(madsim)]
mod ledger;
mod mended;
#[cfg(madsim)]
mod power;
mod removal;
mod snapshots;
mod streams;
mod streams_model;
#[cfg(madsim)]
mod streams_power;
