//! A product of functions of some of the slots each, as one function.

use std::cell::RefCell;

use crate::{Integrand, Landmark};

/// One factor of a product: a function of some of the slots.
pub struct Part<'a> {
    /// Its arguments, as slots of the product.
    pub slots: Vec<usize>,
    /// The function; slot `k` of the integrand is `slots[k]` of the product.
    pub function: &'a dyn Integrand,
}

/// The product of all parts.
pub(crate) struct Product<'a> {
    parts: &'a [Part<'a>],
    kinks: Vec<Vec<f64>>,
    landmarks: Vec<Vec<Landmark>>,
    /// Parts with their surfaces, in order.
    surfaces: Vec<(usize, usize)>,
    /// The same for arguments.
    arguments: Vec<(usize, usize)>,
    smooth: bool,
    factor: RefCell<Vec<f64>>,
}

impl<'a> Product<'a> {
    /// The product over so many slots.
    pub(crate) fn new(parts: &'a [Part<'a>], slots: usize) -> Self {
        let mut kinks = vec![Vec::new(); slots];
        let mut landmarks = vec![Vec::new(); slots];
        let (mut surfaces, mut arguments) = (Vec::new(), Vec::new());
        for (at, part) in parts.iter().enumerate() {
            for (k, &slot) in part.slots.iter().enumerate() {
                kinks[slot].extend_from_slice(part.function.kinks(k));
                landmarks[slot].extend_from_slice(part.function.landmarks(k));
            }
            surfaces.extend((0..part.function.surfaces()).map(|s| (at, s)));
            arguments.extend((0..part.function.arguments()).map(|a| (at, a)));
        }
        for thresholds in &mut kinks {
            thresholds.sort_by(f64::total_cmp);
            thresholds.dedup();
        }
        // What one part does not declare, nobody knows: then nothing is declared.
        if parts.iter().any(hides_kinks) {
            kinks.iter_mut().for_each(Vec::clear);
            surfaces.clear();
        }
        let smooth = parts.iter().all(|p| p.function.smooth());
        Self { parts, kinks, landmarks, surfaces, arguments, smooth, factor: RefCell::default() }
    }
}

/// Whether a part has kinks that it does not declare.
pub(crate) fn hides_kinks(part: &Part<'_>) -> bool {
    let f = part.function;
    !f.smooth() && f.surfaces() == 0 && (0..part.slots.len()).all(|k| f.kinks(k).is_empty())
}

impl Integrand for Product<'_> {
    fn slots(&self) -> usize {
        self.kinks.len()
    }

    fn eval(&self, points: &[&[f64]], out: &mut [f64]) {
        out.fill(1.0);
        let mut factor = self.factor.borrow_mut();
        factor.clear();
        factor.resize(out.len(), 0.0);
        for part in self.parts {
            let columns: Vec<&[f64]> = part.slots.iter().map(|&s| points[s]).collect();
            part.function.eval(&columns, &mut factor);
            out.iter_mut().zip(factor.iter()).for_each(|(value, f)| *value *= f);
        }
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
        let (at, own) = self.surfaces[surface];
        let columns: Vec<&[f64]> = self.parts[at].slots.iter().map(|&s| points[s]).collect();
        self.parts[at].function.surface(own, &columns, out);
    }

    fn arguments(&self) -> usize {
        self.arguments.len()
    }

    fn argument(&self, argument: usize, points: &[&[f64]], out: &mut [f64]) {
        let (at, own) = self.arguments[argument];
        let columns: Vec<&[f64]> = self.parts[at].slots.iter().map(|&s| points[s]).collect();
        self.parts[at].function.argument(own, &columns, out);
    }

    fn smooth(&self) -> bool {
        self.smooth
    }
}
