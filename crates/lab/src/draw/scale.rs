//! From data to pixels, and where the ticks go.

use crate::format;

/// A mark on an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

/// An affine map from data (or their logarithms) to pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    log: bool,
    /// Ends of the axis, after taking logarithms if `log`.
    low: f64,
    high: f64,
    first_pixel: f64,
    last_pixel: f64,
}

impl Scale {
    /// A scale that shows all values with some room at both ends; `None` without values.
    pub(super) fn new(values: &[f64], log: bool, first_pixel: f64, last_pixel: f64) -> Option<Self> {
        let inner = |v: &f64| if log { v.log10() } else { *v };
        let low = values.iter().map(inner).reduce(f64::min)?;
        let high = values.iter().map(inner).reduce(f64::max)?;
        let size = low.abs().max(high.abs());
        // Half the sum of halves: the difference of two huge numbers may overflow.
        let half_range = high / 2.0 - low / 2.0;
        let room = if half_range <= 1e-9 * size || half_range == 0.0 {
            if log {
                0.3
            } else if size == 0.0 {
                1.0
            } else {
                0.1 * size
            }
        } else {
            0.11 * half_range
        };
        let (low, high) = ((low - room).max(f64::MIN / 4.0), (high + room).min(f64::MAX / 4.0));
        Some(Self { log, low, high, first_pixel, last_pixel })
    }

    /// Whether a value has a place.
    pub(super) fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || 0.0 < value)
    }

    /// Pixel of a value; values beyond the axis (or without a logarithm) stick to its end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let inner = match (self.log, 0.0 < value) {
            (false, _) => value,
            (true, true) => value.log10(),
            (true, false) => self.low,
        };
        let share = ((inner.clamp(self.low, self.high) - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.first_pixel + share * (self.last_pixel - self.first_pixel)
    }

    /// About `wanted` ticks.
    pub(super) fn ticks(&self, wanted: usize) -> Vec<Tick> {
        if !self.log {
            return linear_ticks(self.low, self.high, wanted);
        }
        let decades = || (self.low.ceil() as i32)..=(self.high.floor() as i32);
        let n_decades = decades().count();
        if 3 <= n_decades {
            let step = n_decades.div_ceil(wanted);
            // Aligned to multiples of the step, so that 10^0 is one of them when it is shown.
            let aligned = |k: &i32| k.rem_euclid(step as i32) == 0;
            return decades()
                .filter(aligned)
                .map(|k| Tick { value: 10f64.powi(k), label: format::power_of_ten(k) })
                .collect();
        }
        let inside = |v: &f64| (self.low..=self.high).contains(&v.log10());
        let mantissas = ((self.low.floor() as i32)..=(self.high.ceil() as i32))
            .flat_map(|k| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(k)));
        let values: Vec<f64> = mantissas.filter(inside).collect();
        if 2 <= values.len() {
            return log_ticks_at(&values);
        }
        linear_ticks(10f64.powf(self.low), 10f64.powf(self.high), wanted)
    }
}

/// Ticks at given values.
pub(super) fn log_ticks_at(values: &[f64]) -> Vec<Tick> {
    values.iter().map(|&value| Tick { value, label: format::number(value) }).collect()
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<Tick> {
    let rough = (high / wanted as f64) - (low / wanted as f64);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| rough <= *step).unwrap_or(rough);
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    // A range at the limits of floating point has no round multiples: its ends must do.
    if !(step.is_normal() && first.abs() < 1e15 && last.abs() < 1e15 && first <= last) {
        return log_ticks_at(&[low, high]);
    }
    (0..=(last - first) as usize)
        .map(|k| {
            let value = (first + k as f64) * step;
            Tick { value, label: linear_label(value, step, low.abs().max(high.abs())) }
        })
        .collect()
}

/// All labels of an axis with the same number of decimals.
fn linear_label(value: f64, step: f64, largest: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&largest) {
        return format::with_error(value, step);
    }
    let decimals = usize::try_from(-(step.log10() + 1e-9).floor() as i32).unwrap_or(0);
    format!("{value:.decimals$}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool) -> Vec<String> {
        let scale = Scale::new(values, log, 0.0, 100.0).unwrap();
        scale.ticks(6).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&[0.0, 1.0], false), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[1e9, 1e9 + 20.0], false)[1], "1.000000005×10⁹");
        assert_eq!(labels(&[-3.0, 7.0], false), ["−2", "0", "2", "4", "6"]);
        assert_eq!(labels(&[1e-6, 1.0], true), ["10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"]);
        assert_eq!(labels(&[64.0, 1024.0], true), ["100", "200", "500", "1000"]);
        assert_eq!(labels(&[0.0, 2e-5], false), ["0", "5×10⁻⁶", "10⁻⁵", "1.5×10⁻⁵", "2×10⁻⁵"]);
    }

    #[test]
    fn the_map_is_monotone_and_stays_on_the_axis() {
        let scale = Scale::new(&[1.0, 1000.0], true, 300.0, 10.0).unwrap();
        assert!(scale.at(1000.0) < scale.at(10.0) && scale.at(10.0) < scale.at(1.0));
        assert_eq!(scale.at(0.0), 300.0);
        assert_eq!(scale.at(1e9), 10.0);
    }
}
