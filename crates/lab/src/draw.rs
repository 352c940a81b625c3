//! Figures as SVG.
//!
//! The pictures are written directly: a plot is a few dozen elements, and its colours must come
//! from style classes so that one file is right on light and on dark pages, which no plotting
//! library offers. Text takes the colour of its surroundings, coordinates have one decimal, and
//! equal figures give equal bytes.

mod scale;

use std::fmt::Write as _;

use crate::figure::{Figure, Series, Style};
use crate::format;
use crate::math::{escape, to_plain};
use scale::{Scale, Tick, log_ticks_at};

/// Style rules of all figures; a page that holds [`inline`] figures includes them once.
pub const STYLE: &str = include_str!("plot.css");

/// Narrow enough that the letters stay readable when a phone shrinks the picture to its width.
const WIDTH: f64 = 480.0;
const PLOT_HEIGHT: f64 = 270.0;
const TOP: f64 = 32.0;
const RIGHT: f64 = 16.0;
const N_COLOURS: usize = 7;
/// Mean width of a letter at 16 px, generous: there is no font to measure.
const LETTER: f64 = 9.0;
const LEGEND_ROW: f64 = 25.0;
const SWATCH: f64 = 30.0;
const DASHES: [&str; 3] = ["7 5", "2 4", "10 4 2 4"];

/// SVG to be put into a page that includes [`STYLE`].
#[must_use]
pub fn inline(figure: &Figure) -> String {
    Plot::new(figure).map_or_else(|| nothing_to_draw(figure), |plot| plot.svg(""))
}

/// An SVG file that stands by itself, with its own style rules.
#[must_use]
pub fn standalone(figure: &Figure) -> String {
    let style = format!("<style>{STYLE}</style>");
    Plot::new(figure).map_or_else(|| nothing_to_draw(figure), |plot| plot.svg(&style))
}

fn nothing_to_draw(figure: &Figure) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" aria-label=\"{}\" \
         viewBox=\"0 0 {WIDTH} 60\"><text x=\"{}\" y=\"35\" text-anchor=\"middle\">no points to \
         draw</text></svg>\n",
        escape(&to_plain(&figure.title)),
        WIDTH / 2.0
    )
}

/// How one series looks.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    Colour(usize),
    Reference(usize),
}

impl Look {
    fn class(self) -> String {
        match self {
            Self::Colour(k) => format!("s{}", k % N_COLOURS),
            Self::Reference(_) => "reference".to_owned(),
        }
    }

    fn dash(self) -> String {
        match self {
            Self::Colour(_) => String::new(),
            Self::Reference(k) => format!(" stroke-dasharray=\"{}\"", DASHES[k % DASHES.len()]),
        }
    }
}

struct Plot<'a> {
    figure: &'a Figure,
    looks: Vec<Look>,
    x: Scale,
    y: Scale,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    left: f64,
}

impl<'a> Plot<'a> {
    /// Lays the plot out; `None` when no point can be drawn.
    fn new(figure: &'a Figure) -> Option<Self> {
        let drawable = |(x, y): &(f64, f64)| {
            let fits = |v: f64, log: bool| v.is_finite() && (!log || 0.0 < v);
            fits(*x, figure.x.log) && fits(*y, figure.y.log)
        };
        let mut xs = Vec::new();
        let mut ys = Vec::new();
        for series in &figure.series {
            for (i, point) in series.points.iter().enumerate() {
                if drawable(point) {
                    xs.push(point.0);
                    ys.push(point.1);
                    if let Some(&(low, high)) = series.interval.as_ref().and_then(|v| v.get(i)) {
                        let ends = [low, high].into_iter();
                        ys.extend(ends.filter(|v| drawable(&(point.0, *v))));
                    }
                }
            }
        }
        let bottom = TOP + PLOT_HEIGHT;
        let y = Scale::new(&ys, figure.y.log, bottom, TOP)?;
        let y_ticks = y.ticks(6);
        let widest = y_ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0);
        let left = (widest as f64 * LETTER + 14.0).max(34.0);
        let x = Scale::new(&xs, figure.x.log, left, WIDTH - RIGHT)?;
        let x_ticks = measured_ticks(figure, &x).unwrap_or_else(|| x.ticks(6));
        Some(Self { figure, looks: looks(&figure.series), x, y, x_ticks, y_ticks, left })
    }

    fn svg(&self, style: &str) -> String {
        let legend = self.legend();
        let height = TOP + PLOT_HEIGHT + 54.0 + legend.rows as f64 * LEGEND_ROW;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" aria-label=\"{}\" \
             viewBox=\"0 0 {WIDTH} {height}\">{style}\n",
            escape(&to_plain(&self.figure.title))
        );
        self.axes(&mut out);
        for (series, look) in self.figure.series.iter().zip(&self.looks) {
            self.series(series, *look, &mut out);
        }
        out.push_str(&legend.svg);
        out.push_str("</svg>\n");
        out
    }

    fn axes(&self, out: &mut String) {
        let (left, right, bottom) = (self.left, WIDTH - RIGHT, TOP + PLOT_HEIGHT);
        for tick in &self.y_ticks {
            let y = self.y.at(tick.value);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/><text class=\"tick\" \
                 x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 7.0,
                y + 5.0,
                tick.label
            );
        }
        for tick in &self.x_ticks {
            let x = self.x.at(tick.value);
            let _ = writeln!(
                out,
                "<path class=\"axis\" d=\"M{x:.1} {bottom:.1}v5\"/><text class=\"tick\" \
                 x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 21.0,
                tick.label
            );
        }
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{left:.1} {TOP:.1}V{bottom:.1}H{right:.1}\"/>\
             <text x=\"4\" y=\"16\">{}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            escape(&self.figure.y.label),
            (left + right) / 2.0,
            bottom + 44.0,
            escape(&self.figure.x.label)
        );
    }

    fn series(&self, series: &Series, look: Look, out: &mut String) {
        let place = |(x, y): (f64, f64)| (self.x.at(x), self.y.at(y));
        let points: Vec<(usize, (f64, f64))> = series
            .points
            .iter()
            .enumerate()
            .filter(|(_, (x, y))| self.x.shows(*x) && self.y.shows(*y))
            .map(|(i, point)| (i, place(*point)))
            .collect();
        let ends = |i: usize, (x, _): (f64, f64)| {
            let (low, high) = *series.interval.as_ref()?.get(i)?;
            Some((x, self.y.at(low), self.y.at(high)))
        };
        let _ = write!(out, "<g class=\"{}\">", look.class());
        let intervals: Vec<(f64, f64, f64)> = points.iter().filter_map(|&(i, at)| ends(i, at)).collect();
        if series.style == Style::Band && !intervals.is_empty() {
            let upper = intervals.iter().map(|&(x, _, high)| (x, high));
            let lower = intervals.iter().rev().map(|&(x, low, _)| (x, low));
            let _ = write!(out, "<path class=\"band\" d=\"{}Z\"/>", path(upper.chain(lower)));
        } else {
            for (x, low, high) in intervals {
                let _ = write!(
                    out,
                    "<path class=\"bar\" d=\"M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} \
                     {high:.1}h8\"/>",
                    x - 4.0,
                    x - 4.0
                );
            }
        }
        if series.style == Style::Markers {
            for &(i, (x, y)) in &points {
                let (given_x, given_y) = series.points[i];
                let tip = format!("{}, {}", format::number(given_x), format::number(given_y));
                out.push_str(&mark(look, x, y, &format!("<title>{tip}</title>")));
            }
        } else if !points.is_empty() {
            let line = path(points.iter().map(|&(_, at)| at));
            let _ = write!(out, "<path class=\"line\" d=\"{line}\"{}/>", look.dash());
        }
        out.push_str("</g>\n");
    }

    fn legend(&self) -> Legend {
        let mut names: Vec<(&str, Look, Vec<Style>)> = Vec::new();
        for (series, look) in self.figure.series.iter().zip(&self.looks) {
            if series.name.is_empty() {
                continue;
            }
            match names.iter_mut().find(|(name, entry, _)| *name == series.name && entry == look) {
                Some((_, _, styles)) => styles.push(series.style),
                None => names.push((&series.name, *look, vec![series.style])),
            }
        }
        let mut legend = Legend { svg: String::new(), rows: usize::from(!names.is_empty()) };
        let mut x = 4.0;
        for (name, look, styles) in names {
            let width = SWATCH + name.chars().count() as f64 * LETTER + 18.0;
            if WIDTH < x + width - 18.0 && 4.0 < x {
                x = 4.0;
                legend.rows += 1;
            }
            let y = TOP + PLOT_HEIGHT + 50.0 + legend.rows as f64 * LEGEND_ROW - 8.0;
            let _ = write!(legend.svg, "<g class=\"{}\">", look.class());
            for style in styles {
                legend.svg.push_str(&swatch(look, style, x, y));
            }
            let _ =
                writeln!(legend.svg, "</g><text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + SWATCH, y + 5.5, escape(name));
            x += width;
        }
        legend
    }
}

struct Legend {
    svg: String,
    rows: usize,
}

/// A colour for each name; a series without a name continues the one before it, dashed ones are
/// references without a colour, which have their dashes to tell them apart.
fn looks(series: &[Series]) -> Vec<Look> {
    let mut named: Vec<&str> = Vec::new();
    let mut n_references = 0;
    series
        .iter()
        .map(|series| {
            if series.style == Style::Dashed {
                if !series.name.is_empty() || n_references == 0 {
                    n_references += 1;
                }
                return Look::Reference(n_references - 1);
            }
            if series.name.is_empty() && !named.is_empty() {
                return Look::Colour(named.len() - 1);
            }
            let known = named.iter().position(|name| *name == series.name);
            Look::Colour(known.unwrap_or_else(|| {
                named.push(&series.name);
                named.len() - 1
            }))
        })
        .collect()
}

/// On a logarithmic axis the widths that were measured make better ticks than powers of ten, when
/// they are few, whole and far enough apart.
fn measured_ticks(figure: &Figure, scale: &Scale) -> Option<Vec<Tick>> {
    if !figure.x.log {
        return None;
    }
    let mut xs: Vec<f64> = figure
        .series
        .iter()
        .filter(|series| series.style == Style::Markers)
        .flat_map(|series| series.points.iter().map(|point| point.0))
        .filter(|x| scale.shows(*x))
        .collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let wide_enough = |pair: &[f64]| {
        let letters = format::number(pair[1]).chars().count() as f64;
        letters * LETTER + 8.0 < scale.at(pair[1]) - scale.at(pair[0])
    };
    let whole = xs.iter().all(|x| x.fract() == 0.0 && *x < 1e6);
    (2 <= xs.len() && xs.len() <= 9 && whole && xs.windows(2).all(wide_enough)).then(|| log_ticks_at(&xs))
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut d = String::new();
    for (i, (x, y)) in points.enumerate() {
        let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    d
}

/// Shape and colour both tell series apart.
fn mark(look: Look, x: f64, y: f64, inside: &str) -> String {
    let Look::Colour(k) = look else {
        return String::new();
    };
    let d = match k % 6 {
        0 => {
            return format!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\">{inside}</circle>");
        }
        1 => format!("M{:.1} {:.1}h8v8h-8Z", x - 4.0, y - 4.0),
        2 => format!("M{x:.1} {:.1}l5.2 9h-10.4Z", y - 5.6),
        3 => format!("M{x:.1} {:.1}l5.6 5.6l-5.6 5.6l-5.6 -5.6Z", y - 5.6),
        4 => format!("M{x:.1} {:.1}l5.2 -9h-10.4Z", y + 5.6),
        _ => format!("M{:.1} {:.1}h3.4v-3.4h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4Z", x - 5.0, y - 1.6),
    };
    format!("<path class=\"mark\" d=\"{d}\">{inside}</path>")
}

fn swatch(look: Look, style: Style, x: f64, y: f64) -> String {
    let line = format!("<path class=\"line\" d=\"M{x:.1} {y:.1}h22\"{}/>", look.dash());
    match style {
        Style::Markers => mark(look, x + 11.0, y, ""),
        Style::Line | Style::Dashed => line,
        Style::Band => format!("<path class=\"band\" d=\"M{x:.1} {:.1}h22v12h-22Z\"/>{line}", y - 6.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Axis;

    fn example() -> Figure {
        let widths = [64.0, 128.0, 256.0, 512.0];
        let points: Vec<_> = widths.iter().map(|n: &f64| (*n, n.powf(-0.5))).collect();
        let interval: Vec<_> = points.iter().map(|(_, y)| (y * 0.9, y * 1.1)).collect();
        Figure {
            title: "error of $K$".to_owned(),
            x: Axis::log("width n"),
            y: Axis::log("error <rms>"),
            series: vec![
                Series::reference_slope("slope −1/2", -0.5, (64.0, 0.1), (64.0, 512.0)),
                Series::new("mlp", Style::Markers, points.clone()).with_interval(interval),
                Series::new("mlp", Style::Line, points),
            ],
            caption: String::new(),
        }
    }

    #[test]
    fn a_figure_is_complete_and_escaped() {
        let svg = standalone(&example());
        assert_eq!(svg.matches("<circle").count(), 5, "four points and the legend:\n{svg}");
        assert_eq!(svg.matches(">mlp<").count(), 1, "one legend entry a name");
        assert!(svg.contains("error &lt;rms&gt;") && !svg.contains("<rms>"));
        for width in ["64", "128", "256", "512"] {
            assert!(svg.contains(&format!(">{width}</text>")), "tick {width}");
        }
        assert_eq!(svg, standalone(&example()));
    }

    #[test]
    fn text_and_axes_take_the_colour_of_the_page() {
        let svg = inline(&example());
        assert!(!svg.contains('#') && !svg.contains("rgb"), "no fixed colour: {svg}");
    }

    #[test]
    fn hopeless_figures_do_not_panic() {
        for points in [vec![], vec![(0.0, 1.0)], vec![(-1.0, -1.0)]] {
            let mut figure = example();
            figure.series = vec![Series::new("s", Style::Markers, points)];
            assert!(inline(&figure).contains("no points to draw"));
        }
        for (a, b) in [(1.0, 1.0), (1e-300, 1e300), (1e300, 1.000_000_1e300), (5e-324, 1.0)] {
            for log in [false, true] {
                let mut figure = example();
                (figure.x.log, figure.y.log) = (log, log);
                figure.series =
                    vec![Series::new("s", Style::Band, [(a, a), (b, b)]).with_interval([(-1.0, a), (b, b)])];
                let svg = inline(&figure);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{a} {b} {log}: {svg}");
            }
        }
    }
}
