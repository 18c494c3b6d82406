//! The model of netproc: what a process is, what a reactor promises, and the memory between them.
//!
//! Nothing here waits, reads a clock or runs a callback. A backend implements
//! [`reactor::Reactor`]; the engine turns its events into those of processes; the crate `netproc`
//! puts filters and sentinels on top. The only system calls are those of [`socket`], which opens
//! and configures sockets for every backend the same way and moves their bytes and packets, of [`pipe`], which reads
//! and writes what children have, and of [`reserve`], which keeps a descriptor in hand.

pub mod address;
pub mod child;
pub mod coding;
pub mod contact;
#[cfg(feature = "starttls")]
pub mod dialogue;
pub mod engine;
pub mod event;
pub mod eyeballs;
pub mod heap;
pub mod layer;
pub mod machine;
pub mod options;
pub mod outbox;
pub mod output;
#[cfg(unix)]
pub mod pipe;
pub mod plist;
pub mod pool;
pub mod process;
pub mod proxy;
pub mod queue;
pub mod reactor;
#[cfg(unix)]
pub mod reserve;
pub mod shared_error;
#[cfg(feature = "sim")]
pub mod sim;
pub mod slots;
#[cfg(unix)]
pub mod socket;
pub mod table;
pub mod timer;
pub mod value;
