//! Charts of a cell, as SVG that stands in the page.

use std::{error::Error, io};

use plotters::{
    backend::SVGBackend,
    chart::ChartBuilder,
    coord::{
        Shift,
        combinators::IntoLogRange as _,
        ranged1d::{IntoSegmentedCoord as _, SegmentValue},
    },
    drawing::{DrawingArea, IntoDrawingArea as _},
    element::{Circle, ErrorBar},
    series::Histogram,
    style::{Color as _, IntoFont as _, RGBColor, WHITE},
};

use crate::{
    figures::{Figures, Spread},
    serve::Kind,
};

const WIDTH: u32 = 560;
/// Height of a server's line, and of what is around all of them.
const LINE_HEIGHT: usize = 24;
const MARGIN_HEIGHT: usize = 70;
const TEXT_SIZE: i32 = 13;
/// What is right of the largest value, as a part of it.
const ROOM: f64 = 0.05;

const NETPROC: RGBColor = RGBColor(31, 119, 180);
const BY_HAND: RGBColor = RGBColor(140, 140, 140);
const PEER: RGBColor = RGBColor(230, 159, 0);
/// Of the 50th, the 99th and the 99.9th percentile.
const PERCENTILES: [RGBColor; 3] =
    [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(204, 61, 61)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// The server's CPU per message: a bar to the median, a whisker over all rounds.
pub(super) fn cpu(figures: &[Figures]) -> io::Result<String> {
    let bar = |it: &Figures| Some((it.server, it.server_cpu_us_per_message?));
    let bars: Vec<(Kind, Spread)> = figures.iter().filter_map(bar).collect();
    drawn(bars.len(), |area| draw_cpu(&bars, area))
}

/// Latency on a logarithmic scale: a dot for each percentile.
pub(super) fn latency(figures: &[Figures]) -> io::Result<String> {
    let line = |it: &Figures| {
        Some((it.server, [it.p50_us?.median, it.p99_us?.median, it.p999_us?.median]))
    };
    let lines: Vec<(Kind, [f64; 3])> = figures.iter().filter_map(line).collect();
    drawn(lines.len(), |area| draw_latency(&lines, area))
}

/// A chart with a line for each of `count` servers; nothing for none.
fn drawn(count: usize, draw: impl FnOnce(&Area<'_>) -> Drawn) -> io::Result<String> {
    let mut text = String::new();
    if count > 0 {
        let height =
            u32::try_from(count * LINE_HEIGHT + MARGIN_HEIGHT).map_err(io::Error::other)?;
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw(&area).map_err(|err| io::Error::other(err.to_string()))?;
    }
    Ok(text)
}

fn colour(kind: Kind) -> RGBColor {
    if kind.is_netproc() {
        NETPROC
    } else if kind.is_peer() {
        PEER
    } else {
        BY_HAND
    }
}

/// The name on the line of `servers` that a coordinate stands for.
fn label(servers: &[Kind], at: &SegmentValue<usize>) -> String {
    match at {
        SegmentValue::CenterOf(line) => servers.get(*line).map_or("", |it| it.name()).to_owned(),
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    }
}

/// The first server on top: lines are counted from below.
fn from_below<T: Copy>(rows: &[(Kind, T)]) -> (Vec<Kind>, Vec<T>) {
    rows.iter().rev().copied().unzip()
}

fn draw_cpu(bars: &[(Kind, Spread)], area: &Area<'_>) -> Drawn {
    area.fill(&WHITE)?;
    let (servers, spreads) = from_below(bars);
    let most = spreads.iter().fold(0.0, |most: f64, it| most.max(it.max));
    let mut chart = ChartBuilder::on(area)
        .caption("server CPU per message, µs", ("sans-serif", TEXT_SIZE).into_font())
        .margin(8)
        .y_label_area_size(110)
        .x_label_area_size(28)
        .build_cartesian_2d(0.0..most * (1.0 + ROOM), (0..servers.len()).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_labels(8)
        .x_max_light_lines(0)
        .y_labels(servers.len() + 1)
        .y_label_formatter(&|at| label(&servers, at))
        .label_style(("sans-serif", TEXT_SIZE).into_font())
        .draw()?;
    let bars = Histogram::horizontal(&chart)
        .margin(4)
        .style_func(|at, _| match at {
            SegmentValue::CenterOf(line) | SegmentValue::Exact(line) => {
                colour(servers[*line]).filled()
            }
            SegmentValue::Last => WHITE.filled(),
        })
        .data(spreads.iter().enumerate().map(|(line, it)| (line, it.median)));
    chart.draw_series(bars)?;
    chart.draw_series(spreads.iter().enumerate().map(|(line, it)| {
        let at = SegmentValue::CenterOf(line);
        ErrorBar::new_horizontal(at, it.min, it.median, it.max, plotters::style::BLACK.filled(), 8)
    }))?;
    area.present()?;
    Ok(())
}

fn draw_latency(lines: &[(Kind, [f64; 3])], area: &Area<'_>) -> Drawn {
    area.fill(&WHITE)?;
    let (servers, latencies) = from_below(lines);
    let all = || latencies.iter().flatten().copied();
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .caption(
            "latency, µs: so many messages are faster: 50 % (blue), 99 % (orange), 99.9 % (red)",
            ("sans-serif", TEXT_SIZE).into_font(),
        )
        .margin(8)
        .y_label_area_size(110)
        .x_label_area_size(28)
        .build_cartesian_2d(
            (least.max(1.0) / 2.0..most.max(2.0) * 2.0).log_scale(),
            (0..servers.len()).into_segmented(),
        )?;
    chart
        .configure_mesh()
        .x_max_light_lines(0)
        .y_max_light_lines(1) // with none, plotters 0.3.7 counts lines of an integer axis for ever
        .y_labels(servers.len() + 1)
        .y_label_formatter(&|at| label(&servers, at))
        .label_style(("sans-serif", TEXT_SIZE).into_font())
        .draw()?;
    for (percentile, colour) in PERCENTILES.into_iter().enumerate() {
        chart.draw_series(latencies.iter().enumerate().map(|(line, it)| {
            Circle::new((it[percentile], SegmentValue::CenterOf(line)), 5, colour.filled())
        }))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::measured;

    #[test]
    fn a_chart_shows_every_server_that_ran_and_nothing_for_none() {
        let cell = measured(&[
            (Kind::NetprocUring, &[3000, 3200]),
            (Kind::Tokio, &[]),
            (Kind::Mio, &[4000]),
        ]);
        let figures = cell.figures();
        for chart in [cpu(&figures), latency(&figures)] {
            let chart = chart.unwrap();
            assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"), "{chart}");
            for (name, shown) in [("netproc-uring", true), ("mio", true), ("tokio", false)] {
                assert_eq!(chart.contains(name), shown, "{name} in {chart}");
            }
        }
        assert_eq!(cpu(&[]).unwrap(), "");
    }
}
