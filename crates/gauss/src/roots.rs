//! Where functions on many lines change sign.

/// Steps of the search for a root.
const STEPS: usize = 150;

/// Roots are found to this distance.
const ROOT: f64 = 1e-13;

/// Places that tell an affine function from others: in no symmetry, and up to where lines end, as a function may be
/// affine in pieces.
pub(crate) const PLACES: [f64; 8] = [-8.1, -5.6, -3.7, -1.3, 0.4, 2.1, 4.9, 7.9];

/// An affine function is one up to this, relative to its values.
const AFFINE: f64 = 1e-12;

/// The value of a function on some lines at some places.
pub(crate) type OnLines<'f> = dyn FnMut(&[usize], &[f64]) -> Vec<f64> + 'f;

/// Adds to `cuts[line]` where a function changes sign in `[-range, range]`; `f(lines, t)` is its value on each line at
/// each place.
///
/// The root of an affine function is exact; other functions are looked at in `cells` places, so that two roots that are
/// closer are not seen.
pub(crate) fn roots(range: f64, cells: usize, f: &mut OnLines<'_>, cuts: &mut [Vec<f64>]) {
    let all = |places: &mut dyn Iterator<Item = f64>| {
        let places: Vec<f64> = places.collect();
        let lines: Vec<usize> = (0..cuts.len()).flat_map(|line| std::iter::repeat_n(line, places.len())).collect();
        let t: Vec<f64> = (0..cuts.len()).flat_map(|_| places.iter().copied()).collect();
        (lines, t)
    };
    let (lines, t) = all(&mut PLACES.into_iter());
    let values = f(&lines, &t);
    let affine: Option<Vec<f64>> = values.chunks_exact(PLACES.len()).map(affine_root).collect();
    if let Some(found) = affine {
        for (cuts, root) in cuts.iter_mut().zip(found) {
            if root.abs() < range {
                cuts.push(root);
            }
        }
        return;
    }
    let (lines, t) = all(&mut (0..=cells).map(|i| range * (2.0 * i as f64 / cells as f64 - 1.0)));
    let values = f(&lines, &t);
    let brackets = sign_changes(cells, &lines, &t, &values).map(|(_, bracket)| bracket).collect();
    refine(brackets, f, &mut |line, root| cuts[line].push(root));
}

/// The cells at whose ends a function has different signs, given its values in `cells + 1` places of each line.
pub(crate) fn sign_changes<'v>(
    cells: usize,
    lines: &'v [usize],
    t: &'v [f64],
    values: &'v [f64],
) -> impl Iterator<Item = (usize, Bracket)> + 'v {
    let within = (0..values.len()).filter(move |i| i % (cells + 1) < cells);
    within.filter(|i| (values[*i] < 0.0) != (values[i + 1] < 0.0)).map(|i| {
        let (ends, values) = ([t[i], t[i + 1]], [values[i], values[i + 1]]);
        (i, Bracket { line: lines[i], ends, values, root: f64::NAN })
    })
}

/// The roots in some brackets.
pub(crate) fn refine(mut brackets: Vec<Bracket>, f: &mut OnLines<'_>, found: &mut dyn FnMut(usize, f64)) {
    for step in 0..STEPS {
        if brackets.is_empty() {
            break;
        }
        let t: Vec<f64> = brackets.iter().map(|b| b.next(step)).collect();
        let lines: Vec<usize> = brackets.iter().map(|b| b.line).collect();
        let values = f(&lines, &t);
        let mut left = Vec::with_capacity(brackets.len());
        for (mut bracket, (t, value)) in brackets.into_iter().zip(t.into_iter().zip(values)) {
            if bracket.narrow(t, value) || step + 1 == STEPS {
                found(bracket.line, bracket.root);
            } else {
                left.push(bracket);
            }
        }
        brackets = left;
    }
}

/// The root of the affine function with these values at [`PLACES`], infinite for a constant; `None` if there is none such.
pub(crate) fn affine_root(values: &[f64]) -> Option<f64> {
    let end = PLACES.len() - 1;
    let (first, last) = (PLACES[0], PLACES[end]);
    let slope = (values[end] - values[0]) / (last - first);
    let size = values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let near = |i: usize| (values[0] + slope * (PLACES[i] - first) - values[i]).abs() <= AFFINE * size;
    if !(1..end).all(near) {
        return None;
    }
    if slope == 0.0 { Some(f64::INFINITY) } else { Some(first - values[0] / slope) }
}

/// An interval at whose ends a function has different signs.
pub(crate) struct Bracket {
    line: usize,
    ends: [f64; 2],
    values: [f64; 2],
    /// Where it was last evaluated.
    root: f64,
}

impl Bracket {
    /// The chord's root, and now and then the middle, which narrows the bracket whatever the function.
    fn next(&self, step: usize) -> f64 {
        let [a, b] = self.ends;
        let [fa, fb] = self.values;
        let chord = a - fa * ((b - a) / (fb - fa));
        if step % 4 == 3 || !(a..=b).contains(&chord) { 0.5 * (a + b) } else { chord }
    }

    /// Takes a value inside; whether the root is found.
    fn narrow(&mut self, t: f64, value: f64) -> bool {
        let moved = (t - self.root).abs();
        self.root = t;
        let side = usize::from((value < 0.0) != (self.values[0] < 0.0));
        // An end that stays loses half of its value (the Illinois rule).
        self.values[1 - side] *= 0.5;
        (self.ends[side], self.values[side]) = (t, value);
        value == 0.0 || moved <= ROOT || self.ends[1] - self.ends[0] <= ROOT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function that is affine in pieces and bends far out is not taken for an affine one.
    #[test]
    fn functions_that_bend_far_out_are_not_affine() {
        let bent = |t: f64| if t < 5.5 { t - 6.0 } else { 3.0 * t - 17.0 };
        let mut cuts = vec![Vec::new()];
        roots(8.3, 40, &mut |_, t| t.iter().map(|t| bent(*t)).collect(), &mut cuts);
        assert!(matches!(&cuts[0][..], [root] if (root - 17.0 / 3.0).abs() < 1e-12), "{cuts:?}");
    }

    /// Lines with an affine function, with none, with three roots, and with a jump.
    #[test]
    fn all_roots_are_found() {
        let value = |line: usize, t: f64| match line {
            0 => 2.0 * t - 1.0,
            1 => 1.0 + t * t,
            2 => t * (t - 1.5) * (t + 2.25),
            _ => (t - 0.3).signum(),
        };
        let mut evaluations = 0;
        let mut f = |lines: &[usize], t: &[f64]| {
            evaluations += t.len();
            lines.iter().zip(t).map(|(&line, &t)| value(line, t)).collect::<Vec<f64>>()
        };
        let mut cuts = vec![Vec::new(); 4];
        roots(8.0, 16, &mut f, &mut cuts);
        for (cuts, expected) in cuts.iter_mut().zip([&[0.5][..], &[], &[-2.25, 0.0, 1.5], &[0.3]]) {
            cuts.sort_by(f64::total_cmp);
            assert_eq!(cuts.len(), expected.len(), "{cuts:?}");
            assert!(cuts.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{cuts:?}");
        }
        // The jump takes most of them: 45 halvings and the chords between.
        assert!(evaluations < 400, "{evaluations}");
        let mut affine = vec![Vec::new(); 2];
        roots(8.0, 16, &mut |_, t| t.iter().map(|t| 3.0 - 0.25 * t).collect(), &mut affine);
        assert!(affine.iter().all(Vec::is_empty), "the root 12 is out of range: {affine:?}");
    }
}
