//! Plots as SVG: lines over an axis of numbers, bars over names.
//! Texts are texts, so that a page's own type draws them. Never draws what is not finite.

use anyhow::{Result, ensure};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width and height, pixels.
const SIZE: (u32, u32) = (620, 340);
const TYPE: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x33, 0x3a, 0x45);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);
/// Told apart by people who do not see all colours (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x55, 0x55, 0x55),
];

/// One plot.
#[derive(Debug, Clone)]
pub struct Plot {
    pub title: String,
    /// What the horizontal axis has.
    pub x: String,
    /// What the vertical axis has, with its unit.
    pub y: String,
    pub data: Data,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub enum Data {
    /// Lines over a logarithmic axis, each a name and its points.
    Lines(Vec<(String, Vec<(f64, f64)>)>),
    /// Groups of bars: the names of the groups, and for each kind of bar its value in each group.
    Bars { groups: Vec<String>, bars: Vec<(String, Vec<f64>)> },
}

impl Plot {
    /// The whole image.
    ///
    /// # Errors
    /// When there is nothing to draw.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            area.fill(&WHITE)?;
            match &self.data {
                Data::Lines(lines) => self.lines(&area, lines)?,
                Data::Bars { groups, bars } => self.bars(&area, groups, bars)?,
            }
            area.present()?;
        }
        Ok(svg)
    }

    fn lines(&self, area: &Area<'_>, lines: &[(String, Vec<(f64, f64)>)]) -> Result<()> {
        let points = || lines.iter().flat_map(|(_, points)| points).copied();
        let (least, most) = (smallest(points().map(|(x, _)| x)), largest(points().map(|(x, _)| x)));
        ensure!(least > 0.0 && least.is_finite(), "{} has no points", self.title);
        let top = top(points().map(|(_, y)| y), lines.len());
        let (from, to) =
            if least < most { (least / 1.15, most * 1.15) } else { (least / 2.0, most * 2.0) };
        let ticks = ticks(points().map(|(x, _)| x));
        let axis = Decades { log: (from..to).log_scale().into(), ticks };
        let mut chart = builder(area, &self.title).build_cartesian_2d(axis, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style((TYPE, 13, &INK))
            .x_desc(self.x.as_str())
            .y_desc(self.y.as_str())
            .y_labels(6)
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?.label(name).legend(
                move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()),
            );
            chart
                .draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
        }
        legend(&mut chart, lines.len())
    }

    fn bars(&self, area: &Area<'_>, groups: &[String], bars: &[(String, Vec<f64>)]) -> Result<()> {
        let values = || bars.iter().flat_map(|(_, values)| values).copied();
        ensure!(values().next().is_some() && !groups.is_empty(), "{} has no bars", self.title);
        let top = top(values(), bars.len());
        let width = groups.len() as f64;
        let mut chart = builder(area, &self.title).build_cartesian_2d(0.0..width, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style((TYPE, 13, &INK))
            .y_desc(self.y.as_str())
            .y_labels(6)
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        let one = 0.8 / bars.len() as f64;
        let above = TextStyle::from((TYPE, 11).into_font())
            .color(&INK)
            .pos(Pos::new(HPos::Center, VPos::Bottom));
        let below = TextStyle::from((TYPE, 13).into_font())
            .color(&INK)
            .pos(Pos::new(HPos::Center, VPos::Top));
        for (number, ((name, values), colour)) in
            bars.iter().zip(COLOURS.iter().cycle()).enumerate()
        {
            let left = |group: usize| group as f64 + 0.1 + one * number as f64;
            let bar = |(group, &value): (usize, &f64)| {
                Rectangle::new(
                    [(left(group), 0.0), (left(group) + one * 0.92, value)],
                    colour.filled(),
                )
            };
            chart
                .draw_series(
                    values.iter().enumerate().filter(|(_, value)| value.is_finite()).map(bar),
                )?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled())
                });
            let labels = values.iter().enumerate().filter(|(_, value)| value.is_finite());
            chart.draw_series(labels.map(|(group, &value)| {
                EmptyElement::at((left(group) + one * 0.46, value))
                    + Text::new(short(value), (0, -3), above.clone())
            }))?;
        }
        chart.draw_series(groups.iter().enumerate().map(|(group, name)| {
            EmptyElement::at((group as f64 + 0.5, 0.0))
                + Text::new(name.clone(), (0, 8), below.clone())
        }))?;
        let middle = width / 2.0;
        chart.draw_series([
            EmptyElement::at((middle, 0.0)) + Text::new(self.x.clone(), (0, 28), below)
        ])?;
        legend(&mut chart, bars.len())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, X> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>;

fn builder<'a, 'b>(area: &'a Area<'b>, title: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .caption(title, (TYPE, 17, &INK))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(64);
    builder
}

/// Where one line or kind of bar is alone, the title says what it is.
fn legend<'a, 'b: 'a, X: Ranged<ValueType = f64>>(
    chart: &mut Chart<'a, 'b, X>,
    series: usize,
) -> Result<()> {
    if series > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font((TYPE, 13, &INK))
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .margin(8)
            .draw()?;
    }
    Ok(())
}

fn smallest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// Room above the highest value for a legend of so many lines.
fn top(values: impl Iterator<Item = f64>, series: usize) -> f64 {
    let most = largest(values);
    if most > 0.0 { most * (1.15 + 0.12 * series as f64) } else { 1.0 }
}

/// At most eight of the values that there are points for.
fn ticks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<_> = values.collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    let step = all.len().div_ceil(8).max(1);
    all.into_iter().step_by(step).collect()
}

/// As few characters as tell values apart.
fn short(value: f64) -> String {
    match value.abs() {
        huge if huge >= 1e6 => format!("{} M", crate::run::table::number(value / 1e6)),
        large if large >= 1e4 => format!("{} k", crate::run::table::number(value / 1e3)),
        _ => crate::run::table::number(value),
    }
}

/// A logarithmic axis whose marks are where values are.
struct Decades {
    log: LogCoord<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Decades {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.log.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.log.range()
    }
}

impl ValueFormatter<f64> for Decades {
    fn format(value: &f64) -> String {
        short(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bars_have_their_names_and_values_as_text() {
        let lines = Plot {
            title: "Packets".into(),
            x: "tunnels".into(),
            y: "ns".into(),
            data: Data::Lines(vec![
                ("up".into(), vec![(1.0, 50.0), (60_000.0, 150.0)]),
                ("down".into(), vec![(1.0, 60.0), (60_000.0, 130.0)]),
            ]),
        };
        let svg = lines.svg().unwrap();
        for text in ["Packets", "tunnels", "ns", "up", "down", "60 k"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        let bars = Plot {
            data: Data::Bars {
                groups: vec!["64".into(), "1400".into()],
                bars: vec![
                    ("ours".into(), vec![7.25, f64::NAN]),
                    ("theirs".into(), vec![1.0, 1.0]),
                ],
            },
            ..lines
        };
        let svg = bars.svg().unwrap();
        for text in ["7.25", "1400", "theirs"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn nothing_cannot_be_drawn() {
        let empty = |data| Plot { title: "Empty".into(), x: String::new(), y: String::new(), data };
        assert!(empty(Data::Lines(Vec::new())).svg().is_err());
        assert!(empty(Data::Bars { groups: Vec::new(), bars: Vec::new() }).svg().is_err());
    }

    #[test]
    fn one_point_is_a_plot_too() {
        let data = Data::Lines(vec![("alone".into(), vec![(10.0, 3.0)])]);
        let plot = Plot { title: "One".into(), x: String::new(), y: String::new(), data };
        assert!(plot.svg().unwrap().contains("circle"));
    }
}
