//! Sizes of a reactor, and which make sense.

use std::time::Duration;

/// Sizes a reactor is made with; the defaults suit a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Receive slots for streams, 2 to 32,768. Default 64.
    pub slots: u16,
    /// Bytes of one receive slot, at least 64: the most one read of a stream brings. Default 64 KiB.
    pub slot_len: u32,
    /// Receive slots for packets and records, 2 to 32,768; made when the first such socket is. Default 64.
    pub packet_slots: u16,
    /// Bytes of one packet slot, at least 64: longer packets are cut. Default 64 KiB.
    pub packet_len: u32,
    /// The most events one `poll` brings, of whatever kind; more wait for the next. Default 1,024.
    pub events_max: u32,
    /// The most bytes of streams that one `poll` brings, give or take two reads: few enough to be in cache
    /// still when they are sent on. Whoever else is ready has its turn in the next. A `poll` that waits for
    /// nothing has no such bound: who only looks sees what is there. The readiness backend ends a `poll` at
    /// 48 KiB already, asks the kernel again once those known to be ready had their turn, and has epoll and
    /// kqueue tell of few where those bring much. With io_uring it bounds what is read of many who found no slot.
    /// Default 256 KiB.
    pub bytes_max: u32,
    /// Reads of one socket before the next gets its turn (readiness backend), across the polls that `bytes_max` ends
    /// meanwhile, for 16 reads at most and as long as its peer takes what is sent: what serves one peer a while finds
    /// more in cache. Default 16.
    pub reads_per_turn: u32,
    /// Accepts of one listener before the next gets its turn (readiness backend). Default 64.
    pub accepts_per_turn: u32,
    /// Submission queue entries (io_uring), 1 to 32,768, which the kernel rounds up to a power of two. Default 256.
    pub ring_entries: u32,
    /// How long a wait looks for more than one message where messages have come in crowds (io_uring,
    /// from Linux 6.12 on), in whole microseconds up to a second: a message is told of at most so much
    /// later, and fewer system calls are made. Zero tells of each at once. Default 20 µs.
    pub patience: Duration,
    /// How long a listener rests after `EMFILE` and its kin, unless a descriptor comes free; at
    /// least a millisecond. Default 100 ms.
    pub accept_pause: Duration,
    /// Keep one descriptor in reserve, so that a connection which nobody can accept hears an end
    /// instead of nothing; see [`Reserve`](crate::reserve::Reserve).
    /// Default `true`.
    pub reserve_descriptor: bool,
    /// How long dropping a reactor waits for the kernel to let go of its memory. Default 2 s.
    pub drop_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slots: 64,
            slot_len: 64 * 1024,
            packet_slots: 64,
            packet_len: 64 * 1024,
            events_max: 1024,
            bytes_max: 256 * 1024,
            reads_per_turn: 16,
            accepts_per_turn: 64,
            ring_entries: 256,
            patience: Duration::from_micros(20),
            accept_pause: Duration::from_millis(100),
            reserve_descriptor: true,
            drop_wait: Duration::from_secs(2),
        }
    }
}

/// A size that makes no sense, of a reactor, a runtime or a process.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {value}, out of the range {min} to {max}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The field of [`Config`] or [`Limits`](crate::process::Limits), or the builder's method.
    pub field: &'static str,
    /// What it was.
    pub value: u64,
    /// The least it may be.
    pub min: u64,
    /// The most it may be.
    pub max: u64,
}

impl ConfigError {
    /// Whether the `value` of `field` is from `min` to `max`.
    ///
    /// # Errors
    ///
    /// Itself, if it is not.
    pub const fn check(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Self> {
        if min <= value && value <= max { Ok(()) } else { Err(Self { field, value, min, max }) }
    }
}

impl Config {
    /// Whether a reactor can be made with these sizes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field out of range, and the range.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut config = netproc_core::reactor::Config::default();
    /// assert_eq!(config.check(), Ok(()));
    /// config.slots = 1;
    /// let refused = config.check().unwrap_err();
    /// assert_eq!(refused.to_string(), "slots is 1, out of the range 2 to 32768");
    /// ```
    pub fn check(&self) -> Result<(), ConfigError> {
        const ANY: u64 = u32::MAX as u64;
        let fields = [
            ("slots", u64::from(self.slots), 2, 32_768),
            ("slot_len", self.slot_len.into(), 64, 1 << 30),
            ("packet_slots", self.packet_slots.into(), 2, 32_768),
            ("packet_len", self.packet_len.into(), 64, 1 << 29),
            ("events_max", self.events_max.into(), 1, ANY),
            ("bytes_max", self.bytes_max.into(), 1, ANY),
            ("reads_per_turn", self.reads_per_turn.into(), 1, ANY),
            ("accepts_per_turn", self.accepts_per_turn.into(), 1, ANY),
            ("ring_entries", self.ring_entries.into(), 1, 32_768),
            ("patience", micros(self.patience), 0, 1_000_000),
        ];
        for (field, value, min, max) in fields {
            ConfigError::check(field, value, min, max)?;
        }
        // Without a pause, a listener without descriptors would try again and again.
        ConfigError::check("accept_pause", millis(self.accept_pause), 1, u64::MAX)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(&mut Config, u32);

    #[test]
    fn a_rest_of_less_than_a_millisecond_is_refused() {
        let cases = [(0, false), (999, false), (1_000, true), (1_001, true), (u64::MAX, true)];
        for (micros, legal) in cases {
            let accept_pause = Duration::from_micros(micros);
            let checked = Config { accept_pause, ..Config::default() }.check();
            assert_eq!(checked.is_ok(), legal, "{micros} microseconds: {checked:?}");
        }
    }

    #[test]
    fn each_size_is_refused_one_below_and_one_above_its_range() {
        let cases: [(Set, u32, Option<u32>); 4] = [
            (|config, value| config.slot_len = value, 64, Some(1 << 30)),
            (|config, value| config.packet_len = value, 64, Some(1 << 29)),
            (|config, value| config.ring_entries = value, 1, Some(32_768)),
            (|config, value| config.reads_per_turn = value, 1, None),
        ];
        for (set, min, max) in cases {
            let with = |value| {
                let mut config = Config::default();
                set(&mut config, value);
                config.check().map_err(|err| err.field)
            };
            assert_eq!(with(min), Ok(()));
            assert!(with(min - 1).is_err(), "below {min}");
            if let Some(max) = max {
                assert_eq!(with(max), Ok(()));
                assert!(with(max + 1).is_err(), "above {max}");
            }
        }
    }
}
