//! `report.html`: one file with everything in it, to be sent and kept.

use std::io;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, chart};
use crate::{
    figures::{Figures, NOISE},
    measure::Measured,
    requirement::Outcome,
    serve::Kind,
    table::{COLUMNS, IDLE_COLUMNS, cells, number, remarks},
    verdict::Standing,
};

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1240px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .8em 0; font-size: 13px }
th, td { padding: .25em .6em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
thead th { border-bottom: 2px solid #999 }
.scroll { overflow-x: auto }
.best { background: #cdebd3 } .close { background: #eef7ef } .far { background: #fbe3d6 }
.netproc { font-weight: 600 } .bad { color: #b00020; font-weight: 600 }
.charts { display: flex; flex-wrap: wrap; gap: 1em }
code { background: #f3f3f3; padding: .1em .3em }
";

pub(super) fn page(report: &Report) -> io::Result<String> {
    let cells = report.cells.iter().map(section).collect::<io::Result<Vec<_>>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "netproc beside its peers" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "netproc beside its peers" }
                (about(report))
                h2 { "What netproc has to be, and whether it is" }
                (requirements(report))
                h2 { "Server CPU per message, µs" }
                (overview(report))
                h2 { "What it says" }
                (verdicts(report))
                h2 { "Every cell" }
                @for cell in cells { (cell) }
            }
        }
    };
    Ok(page.into_string())
}

fn about(report: &Report) -> Markup {
    let versions = report.versions.iter().map(|(name, version)| format!("{name} {version}"));
    html! {
        p { (report.machine) "." }
        p {
            "Made by " code { (report.command) } ". Each server is a process pinned to one core, the load generator "
            "one on the other, over loopback; every byte that comes back is checked. Figures are medians of "
            (report.rounds) " rounds of " (report.seconds) " s or longer, in which the servers take turns, all there "
            "at a time, in several sets of processes; the range is that of the rounds. With 10,000 connections, and "
            "with much under way, there are fewer rounds, and beside idle ones the servers come one after the other; "
            "each cell below says how many rounds it had, and in a round everything under way comes back twice at least. "
            "The pace of a machine changes from one second to the next, for all servers alike: what all of them took "
            "for a round tells its pace, and times are given as they would have been at that of the middle round. System "
            "calls are counted by "
            (report.counted_by) " and user-space instructions by callgrind, in rounds of their own."
        }
        p {
            "The figure to trust is the server's CPU per message: messages per second swing with the machine, and say "
            "nothing where the load generator's core is the one that is busy. Differences under "
            (percent(NOISE)) " count as none."
        }
        p { "Versions: " (versions.collect::<Vec<_>>().join(", ")) "." }
    }
}

/// A row a cell, a column a server.
fn overview(report: &Report) -> Markup {
    let servers = report.servers();
    html! {
        div.scroll { table {
            thead { tr {
                th { "load" }
                @for server in &servers { th.netproc[server.is_netproc()] { (server) } }
            } }
            tbody { @for cell in &report.cells { tr {
                td { a href={ "#" (cell.cell.name) } { (cell.cell.title()) } }
                @for &server in &servers {
                    td class=(shade(cell, server)) { (number(cell.cpu_of(server), 2)) }
                }
            } } }
        } }
        p {
            span.best { " the least of the row, and whatever equals it " } " "
            span.close { " within a fifth of it " } " "
            span.far { " more than half above it " }
        }
    }
}

fn shade(cell: &Measured, server: Kind) -> &'static str {
    const CLOSE: f64 = 1.2;
    const FAR: f64 = 1.5;
    let best = cell.cheapest(|_| true).map(|it| it.cpu);
    let Some((cpu, best)) = cell.cpu_of(server).zip(best) else { return "" };
    match cpu / best {
        _ if Standing::of(cpu, best) == Standing::Equal => "best",
        ratio if ratio <= CLOSE => "close",
        ratio if ratio > FAR => "far",
        _ => "",
    }
}

fn verdicts(report: &Report) -> Markup {
    html! {
        h3 { "Growth: more connections, idle connections, a million processes" }
        (growth(report))
        h3 { "netproc beside a server written by hand for the same mechanism" }
        (by_hand(report))
        h3 { "Where a peer is equal to netproc, or ahead" }
        (peers(report))
        h3 { "Where poll wins: netproc on epoll or poll(2) is cheaper than on io_uring" }
        (readiness(report))
        h3 { "What did not run, or not to the end" }
        (troubles(report))
    }
}

fn requirements(report: &Report) -> Markup {
    let all = report.requirements();
    let count = |wanted: fn(Outcome) -> bool| all.iter().filter(|it| wanted(it.outcome())).count();
    html! {
        p {
            "Of " (all.len()) ", "
            (count(|it| it == Outcome::Met)) " met, "
            (count(|it| matches!(it, Outcome::Missed(_)))) " missed, "
            (count(|it| it == Outcome::NotMeasured)) " not measured."
        }
        @for requirement in &all {
            details open[matches!(requirement.outcome(), Outcome::Missed(_))] {
                summary {
                    (requirement.what) ": "
                    strong.bad[matches!(requirement.outcome(), Outcome::Missed(_))] { (requirement.verdict()) }
                }
                table {
                    thead { tr { th { "load" } th { "server" } th { "beside" } th { "found" } th { "has to be" } th { "" } } }
                    tbody { @for it in &requirement.findings { tr {
                        td { (it.load) }
                        td { (it.server) }
                        td { @if let Some(other) = it.beside { (other) } }
                        td { (it.found_text().unwrap_or_else(|| "–".into())) }
                        td { (it.bound) }
                        td.best[it.is_met].far[!it.is_met] { @if it.is_met { "met" } @else { "MISSED" } }
                    } } }
                }
            }
        }
    }
}

/// What more of everything costs each server.
fn growth(report: &Report) -> Markup {
    const ACTIVE: [&str; 4] = ["tcp-1x64", "tcp-50x64", "tcp-1000x64", "tcp-10000x64"];
    let beside_idle = report.cells.iter().find(|it| it.cell.shape.idle > 0);
    let idle_count = beside_idle.map_or(0, |it| it.cell.shape.idle);
    let active = ACTIVE.map(|name| report.cell(name));
    let cells: Vec<Option<&Measured>> = active.into_iter().chain([beside_idle]).collect();
    let cost = |at: usize, server| cells[at]?.cpu_of(server);
    let by_few = |server| Some(cost(3, server)? / cost(1, server)?);
    let idle = |server| {
        let figures = beside_idle.and_then(|cell| Some(cell.figures_of(cell.row(server)?)));
        let of = |figure: fn(&Figures) -> Option<f64>| figures.as_ref().and_then(figure);
        [of(|it| it.bytes_per_idle_connection), of(|it| it.first_idle_us), of(|it| it.last_idle_us)]
    };
    html! {
        table {
            thead { tr {
                th { "server CPU per message of 64 B, µs" }
                th { "1 connection" } th { "50" } th { "1,000" } th { "10,000" } th { "10,000 by 50" }
                th { "50 beside " (idle_count) " idle" } th { "by 50 alone" } th { "B of memory for an idle one" }
                th { "in which time it answers, of the first 1,000, µs" } th { "of the last 1,000" }
            } }
            tbody { @for server in report.servers() { tr.netproc[server.is_netproc()] {
                td { (server) }
                @for at in 0..4 { td { (number(cost(at, server), 2)) } }
                td { (number(by_few(server), 2)) }
                td { (number(cost(4, server), 2)) }
                td { (number(beside_idle.and_then(|it| it.cpu_by_alone(server)), 2)) }
                @for (found, digits) in idle(server).into_iter().zip([0, 2, 2]) { td { (number(found, digits)) } }
            } } }
        }
        table {
            thead { tr {
                th { "CPU of a process that is created and ended, µs" }
                th { "processes" } th { "first 1,000 of a fresh runtime" } th { "last 1,000" } th { "median" }
                th { "dearest 1,000" }
            } }
            tbody { @for it in &report.turnovers { tr {
                td { (it.server) }
                @match it.costs {
                    Some(costs) => {
                        td { (costs.processes) }
                        @for nanos in [costs.first, costs.last, costs.median, costs.most] {
                            td { (format!("{:.2}", nanos / 1e3)) }
                        }
                    }
                    None => { td.bad colspan="5" { "FAILED: " (it.failed.as_deref().unwrap_or_default()) } }
                }
            } } }
        }
    }
}

fn by_hand(report: &Report) -> Markup {
    html! {
        p {
            "The ratio of CPU per message. Within " (percent(NOISE)) " the library costs nothing that can be measured."
        }
        table {
            thead { tr { th { "load" } th { "io_uring" } th { "" } th { "epoll" } th { "" } } }
            tbody { @for cell in &report.cells {
                @let both = cell.by_hand();
                tr {
                    td { (cell.cell.title()) }
                    @for server in [Kind::NetprocUring, Kind::NetprocEpoll] {
                        @match both.iter().find(|it| it.server == server) {
                            Some(it) => {
                                td { (format!("{:.2}", it.ratio)) }
                                td.far[it.standing == Standing::More].best[it.standing != Standing::More] {
                                    (it.standing.word())
                                }
                            }
                            None => { td { "–" } td { "" } }
                        }
                    }
                }
            } }
        }
    }
}

fn peers(report: &Report) -> Markup {
    let own = report.automatic;
    html! {
        p { "Beside netproc's own choice on this machine, " @if let Some(own) = own { (own) } @else { "nothing" } "." }
        table {
            thead { tr {
                th { "load" } th { "netproc's choice" } th { "netproc at its best" } th { "the best peer" }
                th { "equal" } th { "ahead" }
            } }
            tbody { @for cell in &report.cells { tr {
                td { (cell.cell.title()) }
                td { (number(own.and_then(|own| cell.cpu_of(own)), 2)) }
                @for wanted in [Kind::is_netproc, Kind::is_peer] { td {
                    @if let Some(it) = cell.cheapest(wanted) { (it.server) " " (format!("{:.2}", it.cpu)) }
                    @else { "–" }
                } }
                @let at_par = own.map(|own| cell.peers_at_par(own)).unwrap_or_default();
                @for standing in [Standing::Equal, Standing::Less] {
                    @let names: Vec<_> = at_par.iter().filter(|it| it.1 == standing).map(|it| it.0.server.name()).collect();
                    td.far[standing == Standing::Less && !names.is_empty()] { (names.join(", ")) }
                }
            } } }
        }
    }
}

fn readiness(report: &Report) -> Markup {
    let wins: Vec<_> =
        report.cells.iter().filter_map(|it| Some((it, it.readiness_wins()?))).collect();
    let polls = report.cells.iter().filter(|it| it.poll_beats_epoll());
    let polls: Vec<_> = polls.map(|it| it.cell.title()).collect();
    html! {
        @if wins.is_empty() { p { "Nowhere in this run." } }
        ul { @for (cell, cost) in &wins { li {
            (cell.cell.title()) ": " (cost.server) " " (format!("{:.2}", cost.cpu)) " µs, netproc-uring "
            (number(cell.cpu_of(Kind::NetprocUring), 2)) " µs"
        } } }
        p {
            "poll(2) is cheaper than epoll: "
            @if polls.is_empty() { "nowhere in this run" } @else { (polls.join("; ")) }
            "."
        }
    }
}

fn troubles(report: &Report) -> Markup {
    let of_cell = |cell: &Measured| {
        let rows = cell.rows.iter().zip(cell.figures());
        let remarks = rows.flat_map(|(row, figures)| remarks(row, &figures));
        remarks.map(|remark| format!("{}: {remark}", cell.cell.title())).collect::<Vec<_>>()
    };
    let mut all: Vec<String> = report.cells.iter().flat_map(of_cell).collect();
    let turnovers = report.turnovers.iter();
    all.extend(
        turnovers.filter_map(|it| Some(format!("{} FAILED: {}", it.server, it.failed.as_ref()?))),
    );
    html! {
        @if all.is_empty() { p { "Everything ran." } }
        ul { @for remark in &all { li { (remark) } } }
    }
}

/// A cell: its charts, and every figure.
fn section(cell: &Measured) -> io::Result<Markup> {
    let figures = cell.figures();
    let charts = [chart::cpu(&figures)?, chart::latency(&figures)?];
    let idle = (cell.cell.shape.idle > 0).then_some(IDLE_COLUMNS);
    let rounds = cell.rounds_had();
    Ok(html! {
        h3 id=(cell.cell.name) { (cell.cell.title()) }
        p {
            code { (cell.cell.name) } ": medians of " (rounds) " rounds"
            @if let Some(remark) = cell.cell.remark() { "; " (remark) }
        }
        div.charts { @for chart in charts { (PreEscaped(chart)) } }
        div.scroll { table {
            thead { tr { @for column in COLUMNS.into_iter().chain(idle.into_iter().flatten()) { th { (column) } } } }
            tbody { @for figures in &figures { tr.netproc[figures.server.is_netproc()] {
                @for cell in cells(figures) { td { (cell) } }
            } } }
        } }
        @for (row, figures) in cell.rows.iter().zip(&figures) {
            @for remark in remarks(row, figures) { p.bad { (remark) } }
        }
    })
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}
