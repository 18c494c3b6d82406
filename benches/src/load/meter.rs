//! Counts messages and how long each was under way.

use std::{
    io,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Nanoseconds; more counts as this much.
const LATENCY_MAX: u64 = 60_000_000_000;

/// What a window measured. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Messages that came back whole within the window.
    pub(crate) messages: u64,
    /// Those, and the ones read after its end.
    pub(crate) messages_total: u64,
    /// Datagrams that never came back.
    pub(crate) lost: u64,
    pub(crate) elapsed: u64,
    /// That, and until the last of all was read.
    pub(crate) elapsed_total: u64,
    /// How long all messages were under way.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    /// CPU time of the server, user and system, for all messages.
    pub(crate) server_cpu: u64,
    /// CPU time of the load generator, for all messages.
    pub(crate) load_cpu: u64,
}

pub(super) struct Meter {
    latency: Histogram<u64>,
    messages: u64,
    under_way: u64,
    lost: u64,
    /// Whether a message that came back is followed by another.
    pub(super) going: bool,
}

impl Meter {
    pub(super) fn new() -> io::Result<Self> {
        let latency = Histogram::new_with_max(LATENCY_MAX, 3).map_err(io::Error::other)?;
        Ok(Self { latency, messages: 0, under_way: 0, lost: 0, going: false })
    }

    pub(super) fn restart(&mut self) {
        self.latency.reset();
        (self.messages, self.under_way, self.lost, self.going) = (0, 0, 0, true);
    }

    pub(super) const fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) const fn under_way(&self) -> u64 {
        self.under_way
    }

    /// Messages were sent.
    pub(super) const fn sent(&mut self, messages: u64) {
        self.under_way += messages;
    }

    /// Messages came back that were sent at `started`.
    pub(super) fn back(&mut self, messages: u64, started: Instant, now: Instant) {
        self.latency.saturating_record(nanos(now - started));
        self.messages += messages;
        self.under_way -= messages;
    }

    /// Messages will not come back.
    pub(super) const fn lost(&mut self, messages: u64) {
        self.lost += messages;
        self.under_way -= messages;
    }

    /// What a window measured that ends now.
    pub(super) fn window(&self, elapsed: Duration) -> Window {
        Window { messages: self.messages, elapsed: nanos(elapsed), ..Window::default() }
    }

    /// That, with everything until now; `cpu` is that of the server and our own.
    pub(super) fn whole(
        &self,
        window: Window,
        elapsed: Duration,
        [server_cpu, load_cpu]: [Duration; 2],
    ) -> Window {
        Window {
            messages_total: self.messages,
            lost: self.lost,
            elapsed_total: nanos(elapsed),
            p50: self.latency.value_at_quantile(0.5),
            p99: self.latency.value_at_quantile(0.99),
            p999: self.latency.value_at_quantile(0.999),
            server_cpu: nanos(server_cpu),
            load_cpu: nanos(load_cpu),
            ..window
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_after_the_window_counts_for_latencies_and_not_for_the_rate() {
        let (mut meter, start) = (Meter::new().unwrap(), Instant::now());
        let [short, long] = [1, 50].map(Duration::from_millis);
        meter.restart();
        meter.sent(2);
        meter.back(1, start, start + short);
        let window = meter.window(short);
        meter.back(1, start, start + long);
        let whole = meter.whole(window, long, [Duration::ZERO; 2]);
        assert_eq!((whole.messages, whole.messages_total), (1, 2));
        assert_eq!((whole.elapsed, whole.elapsed_total), (nanos(short), nanos(long)));
        assert!(whole.p50 < 2 * nanos(short) && whole.p99 >= nanos(long), "{whole:?}");
    }
}
