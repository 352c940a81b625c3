//! Functions of jointly Gaussian slots, as [`expect`](crate::expect) wants them.

use crate::covariance::Factor;
use crate::{GaussError, Landmark};

/// A function of jointly Gaussian slots, evaluated in batches.
pub trait Integrand {
    /// Number of arguments.
    fn slots(&self) -> usize;

    /// Fills `out[j]` with the value at the point whose slot `k` is `points[k][j]`.
    fn eval(&self, points: &[&[f64]], out: &mut [f64]);

    /// Thresholds of one slot where the function is not smooth.
    ///
    /// Declare all of them or none: a function of three variables that declares some is trusted to have no others.
    /// Of a kink that is not declared the error of the answer tells, but the answer is worse.
    fn kinks(&self, slot: usize) -> &[f64];

    /// Where the function of one slot, though smooth, may vary quickly.
    ///
    /// Those that are narrow beside the deviation of the slot are resolved in up to three independent variables.
    fn landmarks(&self, slot: usize) -> &[Landmark] {
        let _ = slot;
        &[]
    }

    /// The number of surfaces, beside thresholds of slots, on which the function is not smooth; all of them or none.
    fn surfaces(&self) -> usize {
        0
    }

    /// Fills `out[j]` with a function that changes sign at the surface and is as smooth there as its neighbourhood allows:
    /// what the kink is a kink of.
    fn surface(&self, surface: usize, points: &[&[f64]], out: &mut [f64]) {
        let _ = (surface, points);
        out.fill(1.0);
    }

    /// The number of arguments of nonlinear functions, of several slots each, around which the function may vary quickly
    /// though it is smooth.
    fn arguments(&self) -> usize {
        0
    }

    /// Fills `out[j]` with such an argument: the function varies where the argument changes by one around its zeros and
    /// where it turns, as `tanh(c (u v - 2))` does around zeros of `c (u v - 2)`.
    fn argument(&self, argument: usize, points: &[&[f64]], out: &mut [f64]) {
        let _ = (argument, points);
        out.fill(0.0);
    }

    /// Whether the function is smooth everywhere: no kinks of slots, and none of combinations of slots (as `max(u, v)` has).
    fn smooth(&self) -> bool;
}

/// Values of a function of the slots at a batch of points.
type Surface = Box<dyn Fn(&[&[f64]], &mut [f64])>;

/// An [`Integrand`] made of a closure.
pub struct Function<F> {
    kinks: Vec<Vec<f64>>,
    landmarks: Vec<Vec<Landmark>>,
    surfaces: Vec<Surface>,
    arguments: Vec<Surface>,
    smooth: bool,
    eval: F,
}

impl<F: Fn(&[&[f64]], &mut [f64])> Function<F> {
    /// The smooth function of so many slots that the closure evaluates.
    pub fn new(slots: usize, eval: F) -> Self {
        let landmarks = vec![Vec::new(); slots];
        let kinks = vec![Vec::new(); slots];
        Self { kinks, landmarks, surfaces: Vec::new(), arguments: Vec::new(), smooth: true, eval }
    }

    /// The same function, which is not smooth where `slot` passes one of the thresholds.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn with_kinks(mut self, slot: usize, thresholds: &[f64]) -> Self {
        self.kinks[slot] = thresholds.to_vec();
        self.smooth = false;
        self
    }

    /// The same function, which varies quickly around some values of `slot`.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn with_landmarks(mut self, slot: usize, landmarks: &[Landmark]) -> Self {
        self.landmarks[slot] = landmarks.to_vec();
        self
    }

    /// The same function, which is not smooth where `surface` changes sign, for example `u - v` for `max(u, v)`.
    #[must_use]
    pub fn with_surface(mut self, surface: impl Fn(&[&[f64]], &mut [f64]) + 'static) -> Self {
        self.surfaces.push(Box::new(surface));
        self.smooth = false;
        self
    }

    /// The same function, which varies quickly where this argument of several slots vanishes or turns.
    #[must_use]
    pub fn with_argument(mut self, argument: impl Fn(&[&[f64]], &mut [f64]) + 'static) -> Self {
        self.arguments.push(Box::new(argument));
        self
    }

    /// The same function, which is not smooth somewhere else, for example where two slots are equal.
    #[must_use]
    pub fn not_smooth(mut self) -> Self {
        self.smooth = false;
        self
    }
}

impl<F: Fn(&[&[f64]], &mut [f64])> Integrand for Function<F> {
    fn slots(&self) -> usize {
        self.kinks.len()
    }

    fn eval(&self, points: &[&[f64]], out: &mut [f64]) {
        (self.eval)(points, out);
    }

    fn kinks(&self, slot: usize) -> &[f64] {
        &self.kinks[slot]
    }

    fn landmarks(&self, slot: usize) -> &[Landmark] {
        &self.landmarks[slot]
    }

    fn surfaces(&self) -> usize {
        self.surfaces.len()
    }

    fn surface(&self, surface: usize, points: &[&[f64]], out: &mut [f64]) {
        (self.surfaces[surface])(points, out);
    }

    fn arguments(&self) -> usize {
        self.arguments.len()
    }

    fn argument(&self, argument: usize, points: &[&[f64]], out: &mut [f64]) {
        (self.arguments[argument])(points, out);
    }

    fn smooth(&self) -> bool {
        self.smooth
    }
}

/// Evaluates an integrand at batches of whitened points `x`, where slot `k` is `sum_j L[k][j] x[j]`.
pub(crate) struct Whitened<'a> {
    f: &'a dyn Integrand,
    factor: &'a Factor,
    slots: Vec<Vec<f64>>,
    /// The first value that was not finite.
    bad: Option<GaussError>,
    /// Evaluations so far.
    pub(crate) points: usize,
}

impl<'a> Whitened<'a> {
    pub(crate) fn new(f: &'a dyn Integrand, factor: &'a Factor) -> Self {
        Self { f, factor, slots: vec![Vec::new(); f.slots()], bad: None, points: 0 }
    }

    /// The values at the points whose whitened coordinate `j` is `x[j]`; not finite ones are remembered and replaced by 0.
    pub(crate) fn eval(&mut self, x: &[&[f64]], out: &mut [f64]) {
        let n = out.len();
        for (k, column) in self.slots.iter_mut().enumerate() {
            column.clear();
            column.resize(n, 0.0);
            for (j, x) in x.iter().enumerate() {
                let l = self.factor.entry(k, j);
                if l != 0.0 {
                    for (value, x) in column.iter_mut().zip(*x) {
                        *value += l * x;
                    }
                }
            }
        }
        let columns: Vec<&[f64]> = self.slots.iter().map(Vec::as_slice).collect();
        self.f.eval(&columns, out);
        self.points += n;
        for (j, value) in out.iter_mut().enumerate() {
            if !value.is_finite() {
                if self.bad.is_none() {
                    let at = columns.iter().map(|column| column[j]).collect();
                    self.bad = Some(GaussError::Value { at, value: *value });
                }
                *value = 0.0;
            }
        }
    }

    /// An error if a value was not finite since the beginning.
    pub(crate) fn check(&self) -> Result<(), GaussError> {
        self.bad.clone().map_or(Ok(()), Err)
    }
}
