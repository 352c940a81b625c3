//! A figure as data: what is drawn, not how. [`crate::draw`] turns it into SVG.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// A plot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Heading; mathematics as `$...$`.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// What is drawn, first series at the back.
    pub series: Vec<Series>,
    /// Explanation below; mathematics as `$...$`.
    pub caption: String,
}

/// An axis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Plain text (no LaTeX: it is drawn inside the picture).
    pub label: String,
    /// Logarithmic. Points that are not positive are then left out of the picture.
    pub log: bool,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true }
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Points, with error bars when the series has intervals.
    Markers,
    /// A line, with error bars when the series has intervals.
    Line,
    /// A line in the middle of a band given by the intervals.
    Band,
    /// A thin dashed line in the colour of the text: a reference, such as a predicted slope.
    Dashed,
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Plain text for the legend; an empty name has no entry there.
    pub name: String,
    /// Points (x, y).
    pub points: Vec<(f64, f64)>,
    /// Lower and upper ends for each point.
    pub interval: Option<Vec<(f64, f64)>>,
    /// How it is drawn.
    pub style: Style,
}

impl Series {
    /// A series without intervals.
    pub fn new(name: impl Into<String>, style: Style, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect(), interval: None, style }
    }

    /// The same series with intervals, one for each point.
    #[must_use]
    pub fn with_interval(mut self, interval: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.interval = Some(interval.into_iter().collect());
        self
    }

    /// A dashed power law `y = y0 (x/x0)^slope` through `anchor = (x0, y0)` over the given range of
    /// x; straight on two logarithmic axes.
    pub fn reference_slope(name: impl Into<String>, slope: f64, anchor: (f64, f64), range: (f64, f64)) -> Self {
        let at = |x: f64| (x, anchor.1 * (x / anchor.0).powf(slope));
        let (low, high) = range;
        let points = (0..=16).map(|k| at(low * (high / low).powf(f64::from(k) / 16.0)));
        Self::new(name, Style::Dashed, points)
    }
}

impl Figure {
    /// Refuses numbers that are not finite and intervals that do not match their points.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for series in &self.series {
            let place = || format!("figure `{}`, series `{}`", self.title, series.name);
            if let Some(interval) = &series.interval {
                ensure!(
                    interval.len() == series.points.len(),
                    "{}: {} intervals for {} points",
                    place(),
                    interval.len(),
                    series.points.len()
                );
            }
            let ends = series.interval.iter().flatten();
            for (i, &(a, b)) in series.points.iter().chain(ends).enumerate() {
                ensure!(
                    a.is_finite() && b.is_finite(),
                    "{}: value {} is ({a}, {b}), expected finite numbers",
                    place(),
                    i % series.points.len()
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_slopes_pass_through_their_anchor() {
        let series = Series::reference_slope("n^(-1/2)", -0.5, (64.0, 1.0), (64.0, 1024.0));
        assert_eq!(series.points[0], (64.0, 1.0));
        let (x, y) = series.points[16];
        assert!((x - 1024.0).abs() < 1e-9 && (y - 0.25).abs() < 1e-12); // rounding of powf
    }

    #[test]
    fn broken_figures_are_refused() {
        let series = Series::new("s", Style::Markers, [(1.0, f64::NAN)]);
        let figure = Figure { series: vec![series], ..Figure::default() };
        assert!(figure.check().unwrap_err().to_string().contains("series `s`: value 0 is"));
        let series = Series::new("s", Style::Band, [(1.0, 1.0)]).with_interval([]);
        let figure = Figure { series: vec![series], ..Figure::default() };
        assert!(figure.check().unwrap_err().to_string().contains("0 intervals for 1 points"));
    }
}
