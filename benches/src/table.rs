//! The figures of a cell as text, for a terminal.

use std::fmt;

use comfy_table::{Cell as TableCell, CellAlignment, Table, presets::NOTHING};

use crate::{
    figures::{Figures, Spread},
    measure::{Measured, Row},
};

/// A number with so many digits behind the point, or a dash.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// The extremes of the rounds, with so many digits behind the point.
pub(crate) fn range(spread: Option<Spread>, digits: usize) -> String {
    let text = |it: Spread| format!("{:.digits$}–{:.digits$}", it.min, it.max);
    spread.map_or_else(|| "–".to_owned(), text)
}

pub(crate) fn median(spread: Option<Spread>) -> Option<f64> {
    spread.map(|it| it.median)
}

/// A part as a percentage.
pub(crate) fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| "–".to_owned(), |part| format!("{:.0} %", part * 100.0))
}

/// What each column shows. `MB/s` means 10^6 bytes; "load" is the load generator.
pub(crate) const COLUMNS: [&str; 15] = [
    "server",
    "msg/s",
    "MB/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "CPU µs/msg",
    "min–max",
    "× raw",
    "server busy",
    "load busy",
    "calls/msg",
    "waits/msg",
    "own count",
    "instr/msg",
];

/// The same for idle connections.
pub(crate) const IDLE_COLUMNS: [&str; 3] = ["B/idle conn", "first µs", "last µs"];

/// A row under [`COLUMNS`], and [`IDLE_COLUMNS`] where there are idle connections.
pub(crate) fn cells(figures: &Figures) -> Vec<String> {
    let mut cells = vec![
        figures.server.to_string(),
        number(median(figures.messages_per_second), 0),
        number(median(figures.megabytes_per_second), 1),
        number(median(figures.p50_us), 0),
        number(median(figures.p99_us), 0),
        number(median(figures.p999_us), 0),
        number(median(figures.server_cpu_us_per_message), 2),
        range(figures.server_cpu_us_per_message, 2),
        number(figures.cpu_by_raw, 2),
        percent(figures.server_busy),
        percent(figures.load_busy),
        number(figures.system_calls_per_message, 3),
        number(figures.waits_per_message, 3),
        number(figures.own_calls_per_message, 3),
        number(figures.instructions_per_message, 0),
    ];
    cells.extend(figures.bytes_per_idle_connection.map(|bytes| format!("{bytes:.0}")));
    let answers = [figures.first_idle_us, figures.last_idle_us];
    cells.extend(answers.into_iter().flatten().map(|time| format!("{time:.2}")));
    cells
}

/// What there is to say of a row besides its figures.
pub(crate) fn remarks(row: &Row, figures: &Figures) -> Vec<String> {
    let server = row.server;
    let mut remarks = Vec::new();
    remarks
        .extend(row.unavailable.as_ref().map(|why| format!("{server} does not run here: {why}")));
    remarks.extend(row.failed.as_ref().map(|why| format!("{server} FAILED: {why}")));
    let uncounted = row.uncounted.as_ref();
    remarks.extend(uncounted.map(|why| format!("{server}: system calls not counted: {why}")));
    remarks.extend(row.notes.iter().map(|note| format!("{server}: {note}")));
    if figures.lost > 0 {
        remarks.push(format!("{server}: {} packets never came back", figures.lost));
    }
    remarks
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds_had();
        let title = self.cell.title();
        writeln!(f, "{}: {title}; medians of {rounds} interleaved rounds", self.cell.name)?;
        let mut table = Table::new();
        let idle = (self.cell.shape.idle > 0).then_some(IDLE_COLUMNS);
        table.load_style(NOTHING).set_header(COLUMNS.into_iter().chain(idle.into_iter().flatten()));
        for figures in self.figures() {
            let right = |cell: String| TableCell::new(cell).set_alignment(CellAlignment::Right);
            table.add_row(cells(&figures).into_iter().map(right));
        }
        writeln!(f, "{table}")?;
        for (row, figures) in self.rows.iter().zip(self.figures()) {
            for remark in remarks(row, &figures) {
                writeln!(f, "{remark}")?;
            }
        }
        Ok(())
    }
}
