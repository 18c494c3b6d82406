//! The table of the README, and putting it there.

use std::fmt::Write as _;

use super::Report;
use crate::{
    cell,
    figures::is_less,
    measure::Measured,
    requirement::Requirement,
    serve::Kind,
    table::{median, number},
};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// The servers of the first table, with what their columns are called.
const COLUMNS: [(Kind, &str); 5] = [
    (Kind::NetprocUring, "netproc on io_uring"),
    (Kind::RawUring, "hand-written io_uring"),
    (Kind::NetprocEpoll, "netproc on epoll"),
    (Kind::RawEpoll, "hand-written epoll"),
    (Kind::NetprocPoll, "netproc on poll(2)"),
];

/// `text` with what is between its marks replaced; `None` if it has none, or not in that order.
pub(super) fn between_marks(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", table.trim()))
}

pub(super) fn table(report: &Report) -> String {
    let mut text = String::new();
    write_all(report, &mut text).expect("a string takes everything");
    text
}

fn write_all(report: &Report, text: &mut String) -> std::fmt::Result {
    let machine = &report.machine;
    writeln!(
        text,
        "Linux {}, {} cores of {}, {}{}; server and load generator on a core each, over loopback; medians of {} \
         interleaved rounds of {} s or longer, each at the pace of the middle one. With 10,000 connections, and \
         with much under way, there are fewer rounds, and beside idle ones the servers come one after the other. \
         Repeat it with\n`{}`.\n",
        machine.kernel,
        machine.cores,
        machine.processor,
        machine.date,
        machine.of_commit(),
        report.rounds,
        report.seconds,
        report.command
    )?;
    writeln!(
        text,
        "Server CPU per message in µs, less is better. Bold: the least of a row, and what the least is no more than 5 % \
         below, which is noise.\n"
    )?;
    write!(text, "| load |")?;
    for (_, title) in COLUMNS {
        write!(text, " {title} |")?;
    }
    writeln!(text, " best peer |\n| --- |{} --- |", " ---: |".repeat(COLUMNS.len()))?;
    for cell in &report.cells {
        writeln!(text, "{}", row(cell))?;
    }
    if let Some(main) = report.cell(cell::MAIN) {
        writeln!(text, "\n{}", details(report, main))?;
    }
    writeln!(text, "\nWhat netproc has to be, and whether it was in this run:\n")?;
    report.requirements().iter().try_for_each(|it| requirement(text, it))?;
    readiness(text, &report.cells)
}

/// Where what is chosen first is not the cheapest of netproc's backends.
fn readiness(text: &mut String, cells: &[Measured]) -> std::fmt::Result {
    let both: Vec<_> = cells.iter().filter(|it| it.cpu_of(Kind::NetprocUring).is_some()).collect();
    let wins: Vec<_> = both.iter().filter_map(|it| Some((it, it.readiness_wins()?))).collect();
    if both.is_empty() {
        return Ok(());
    }
    if wins.is_empty() {
        return writeln!(text, "\nNowhere was readiness cheaper than io_uring.");
    }
    writeln!(
        text,
        "\nReadiness was cheaper than io_uring in {} of {} loads:\n",
        wins.len(),
        both.len()
    )?;
    wins.iter().try_for_each(|(cell, cost)| {
        let uring = number(cell.cpu_of(Kind::NetprocUring), 2);
        let title = cell.cell.title();
        writeln!(text, "* {title}: {} {:.2} µs, netproc-uring {uring} µs", cost.server, cost.cpu)
    })
}

/// A line for a requirement, and one for each time it is missed.
fn requirement(text: &mut String, requirement: &Requirement) -> std::fmt::Result {
    let (what, bounds, verdict) = (&requirement.what, requirement.bounds(), requirement.verdict());
    writeln!(text, "* {what}{bounds}: **{verdict}**")?;
    for finding in requirement.findings.iter().filter(|it| !it.is_met) {
        writeln!(text, "  * {finding}")?;
    }
    Ok(())
}

/// One cell: what each server costs, and the cheapest peer.
fn row(cell: &Measured) -> String {
    let best = cell.cheapest(|_| true).map_or(f64::NAN, |it| it.cpu);
    let cost = |cpu: Option<f64>| match cpu {
        Some(cpu) if !is_less(best, cpu) => format!("**{cpu:.2}**"),
        cpu => number(cpu, 2),
    };
    let mut cells = vec![cell.cell.title()];
    cells.extend(COLUMNS.map(|(server, _)| cost(cell.cpu_of(server))));
    let peer = cell.cheapest(Kind::is_peer);
    cells.push(
        peer.map_or_else(|| "–".into(), |it| format!("{} {}", it.server, cost(Some(it.cpu)))),
    );
    format!("| {} |", cells.join(" | "))
}

/// One cell with everything that was measured in it.
fn details(report: &Report, cell: &Measured) -> String {
    let mut text = format!(
        "| {} | messages/s | MB/s | p50, p99, p99.9 µs | CPU µs per message | system calls per message | \
         instructions per message |\n| --- |{}\n",
        cell.cell.title(),
        " ---: |".repeat(6)
    );
    for figures in cell.figures() {
        let latency =
            [figures.p50_us, figures.p99_us, figures.p999_us].map(|it| number(median(it), 0));
        let version = report.versions.get(figures.server.name());
        let cells = [
            version.map_or_else(
                || figures.server.to_string(),
                |it| format!("{} {it}", figures.server),
            ),
            number(median(figures.messages_per_second), 0),
            number(median(figures.megabytes_per_second), 1),
            latency.join(", "),
            number(median(figures.server_cpu_us_per_message), 2),
            number(figures.system_calls_per_message, 2),
            number(figures.instructions_per_message, 0),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::measured;

    #[test]
    fn where_readiness_is_cheaper_is_told() {
        let told = |epoll| {
            let cells = [
                measured(&[(Kind::NetprocUring, &[4000]), (Kind::NetprocEpoll, &[epoll])]),
                measured(&[(Kind::NetprocEpoll, &[1000])]),
            ];
            let mut text = String::new();
            readiness(&mut text, &cells).unwrap();
            text
        };
        assert_eq!(
            told(3700),
            "\nReadiness was cheaper than io_uring in 1 of 1 loads:\n\n\
             * TCP echo, 50 connections × 64 B: netproc-epoll 3.70 µs, netproc-uring 4.00 µs\n"
        );
        assert_eq!(told(3900), "\nNowhere was readiness cheaper than io_uring.\n");
        let mut nothing = String::new();
        readiness(&mut nothing, &[]).unwrap();
        assert_eq!(nothing, "", "what was not measured is not told");
    }

    #[test]
    fn the_least_of_a_row_is_bold_and_whatever_equals_it() {
        let cell = measured(&[
            (Kind::NetprocUring, &[3000, 3100, 9000]),
            (Kind::RawUring, &[3000]),
            (Kind::NetprocEpoll, &[3500]),
            (Kind::Tokio, &[3200]),
            (Kind::Mio, &[4000]),
        ]);
        let expected =
            "| TCP echo, 50 connections × 64 B | **3.10** | **3.00** | 3.50 | – | – | tokio 3.20 |";
        assert_eq!(row(&cell), expected);
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = "a\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nb\n";
        let expected = "a\n<!-- bench:begin -->\n\nnew\n\n<!-- bench:end -->\nb\n";
        assert_eq!(between_marks(page, "new\n").as_deref(), Some(expected));
        assert_eq!(between_marks(expected, "new").as_deref(), Some(expected));
        for page in ["", "<!-- bench:begin -->", "<!-- bench:end --><!-- bench:begin -->"] {
            assert_eq!(between_marks(page, "new"), None, "{page}");
        }
    }
}
