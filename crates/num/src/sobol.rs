//! Owen-scrambled Sobol' points: deterministic points of low discrepancy, randomised so that their averages are unbiased.
//!
//! Coordinates come from the digital sequence of Sobol' (1967) with the direction numbers of Joe and Kuo (2008, file `new-joe-kuo-6`), 64 dimensions of it.
//! Nested uniform scrambling (Owen 1995) is done by hashing: each bit is flipped by a hash of the more significant bits of the same coordinate, so every replicate is an independent scramble and every power-of-two block of indices stays a digital net.
//! Beyond 64 dimensions the sequence is used again with its indices scrambled in the same nested way: blocks stay nets, and different groups of 64 coordinates are independent of each other (padding, or "Latin supercube sampling", Owen 1998).

use crate::streams::splitmix;

mod directions;

use directions::JOE_KUO;

/// Dimensions with direction numbers of their own; more are padded.
pub const DIMENSIONS: usize = JOE_KUO.len() + 1;

/// Bits of a coordinate, and the logarithm of the largest number of points.
const BITS: u32 = 52;

/// Levels of the scrambling tree that one hash decides.
const GROUP: u32 = 6;

/// Groups of levels scrambled digit by digit in a coordinate: more than the 2^24 points that anybody takes.
const COORDINATE_GROUPS: u32 = 4;

/// One scrambled replicate of the Sobol' sequence.
#[derive(Clone, Debug)]
pub struct Sobol {
    /// Columns of the generator matrices, `BITS` for each of the first `min(dims, DIMENSIONS)` coordinates, most significant digit in bit 63.
    columns: Vec<[u64; BITS as usize]>,
    dims: usize,
    key: u64,
}

impl Sobol {
    /// The replicate number `replicate` of the `dims`-dimensional sequence that belongs to `seed`.
    pub fn new(dims: usize, seed: u64, replicate: u64) -> Self {
        let columns = (0..dims.min(DIMENSIONS)).map(columns).collect();
        Self { columns, dims, key: mix(mix(0x5ca1_ab1e, seed), replicate) }
    }

    /// Number of coordinates of a point.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Writes the coordinates of point number `index` to `point`: uniform variables in the open interval (0, 1).
    ///
    /// # Panics
    /// If `point` has not [`dims`](Self::dims) entries, or `index` is 2^52 or more.
    pub fn point(&self, index: u64, point: &mut [f64]) {
        assert_eq!(point.len(), self.dims, "a point has one entry a dimension");
        assert!(index < 1 << BITS, "the sequence has 2^{BITS} points");
        for (group, coordinates) in point.chunks_mut(DIMENSIONS).enumerate() {
            let index = if group == 0 { index } else { self.padded(index, group as u64) };
            for (j, x) in coordinates.iter_mut().enumerate() {
                let dim = (group * DIMENSIONS + j) as u64;
                let digits = scramble(digits(&self.columns[j], index), mix(self.key, dim), COORDINATE_GROUPS);
                // The midpoint of one of 2^52 cells: never 0 or 1.
                *x = ((digits >> (64 - BITS)) as f64 + 0.5) / (1_u64 << BITS) as f64;
            }
        }
    }

    /// The index that a further group of coordinates uses: aligned blocks of `2^k` indices are moved onto each other.
    fn padded(&self, index: u64, group: u64) -> u64 {
        let key = mix(self.key ^ 0x7061_6464_696e_6700, group);
        scramble(index << (64 - BITS), key, BITS.div_ceil(GROUP)) >> (64 - BITS)
    }
}

/// The digits of an unscrambled coordinate, most significant first from bit 63.
fn digits(columns: &[u64; BITS as usize], mut index: u64) -> u64 {
    let mut acc = 0;
    while index != 0 {
        acc ^= columns[index.trailing_zeros() as usize];
        index &= index - 1;
    }
    acc
}

/// Nested uniform scrambling of the leading digits: each is flipped by a random bit that belongs to the digits above it.
///
/// A hash of the digits above a group holds the 63 bits of its binary tree of [`GROUP`] levels.
/// Below `groups` groups all digits are flipped together, by a hash of what is above: no two points of a sequence shorter than that are alike there.
fn scramble(x: u64, key: u64, groups: u32) -> u64 {
    let mut flips = 0;
    for group in 0..groups {
        let depth = GROUP * group;
        let above = if depth == 0 { 0 } else { x >> (64 - depth) };
        let tree = mix(key.wrapping_add(u64::from(group)), above);
        let digits = (x << depth) >> (64 - GROUP);
        for level in 0..GROUP {
            let node = (1 << level) | (digits >> (GROUP - level));
            flips |= ((tree >> node) & 1) << (63 - depth - level);
        }
    }
    let depth = GROUP * groups;
    if depth < BITS {
        flips |= mix(key.wrapping_add(u64::from(groups)), x >> (64 - depth)) >> depth;
    }
    x ^ flips
}

/// A hash of two words.
fn mix(key: u64, word: u64) -> u64 {
    splitmix(key ^ splitmix(word.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// The generator matrix of coordinate `dim`, by columns (Bratley and Fox 1988, eq. 2).
fn columns(dim: usize) -> [u64; BITS as usize] {
    let mut columns = [0; BITS as usize];
    if dim == 0 {
        for (i, column) in columns.iter_mut().enumerate() {
            *column = 1 << (63 - i);
        }
        return columns;
    }
    let (coefficients, initial) = JOE_KUO[dim - 1];
    let degree = initial.len();
    for i in 0..BITS as usize {
        columns[i] = if i < degree {
            u64::from(initial[i]) << (63 - i)
        } else {
            let mut v = columns[i - degree] ^ (columns[i - degree] >> degree);
            for k in 1..degree {
                if (coefficients >> (degree - 1 - k)) & 1 == 1 {
                    v ^= columns[i - k];
                }
            }
            v
        };
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(dims: usize, n: u64, replicate: u64) -> Vec<Vec<f64>> {
        let sobol = Sobol::new(dims, 11, replicate);
        (0..n)
            .map(|i| {
                let mut point = vec![0.0; dims];
                sobol.point(i, &mut point);
                point
            })
            .collect()
    }

    /// The smallest t such that every box of area 2^(t - m) has its share of 2^m points in coordinates a and b.
    fn quality(points: &[Vec<f64>], a: usize, b: usize) -> u32 {
        let m = points.len().ilog2();
        (0..=m)
            .find(|t| {
                (0..=m - t).all(|k| {
                    let (rows, columns) = (1_usize << k, 1_usize << (m - t - k));
                    let mut counts = vec![0; rows * columns];
                    for point in points {
                        let row = (point[a] * rows as f64) as usize;
                        counts[row * columns + (point[b] * columns as f64) as usize] += 1;
                    }
                    counts.iter().all(|count| *count == 1 << t)
                })
            })
            .unwrap()
    }

    /// Each coordinate alone is a (0, m, 1)-net: one point in each of 2^m cells; also past the 64 dimensions and in later blocks.
    #[test]
    fn coordinates_are_stratified() {
        for dims in [1, DIMENSIONS, 3 * DIMENSIONS] {
            let points = matrix(dims, 256, 0);
            for block in [0..64, 64..128, 0..256] {
                let n = block.len();
                for dim in 0..dims {
                    let mut seen = vec![false; n];
                    for point in &points[block.clone()] {
                        let cell = (point[dim] * n as f64) as usize;
                        assert!(!seen[cell], "dimension {dim}");
                        seen[cell] = true;
                    }
                }
            }
        }
    }

    /// Two-dimensional projections: the first two coordinates are a (0, 2)-sequence (Sobol' 1967).
    /// Joe and Kuo chose their numbers for small t in the pairs of neighbours: the worst and the mean t of 1024 points are pinned, so that a wrong entry of the table shows.
    #[test]
    fn pairs_of_coordinates_are_nets() {
        let points = matrix(DIMENSIONS, 1024, 5);
        assert_eq!(quality(&points, 0, 1), 0);
        let mut all = Vec::new();
        for a in 0..DIMENSIONS {
            for b in 0..a {
                all.push(quality(&points, a, b));
            }
        }
        let mean = f64::from(all.iter().sum::<u32>()) / all.len() as f64;
        assert_eq!((all.iter().max(), (100.0 * mean).round()), (Some(&6), 264.0));
    }

    /// Averages over replicates are unbiased and their spread falls faster than that of random points: variance of order n^-3 for smooth integrands (Owen 1997).
    #[test]
    fn scrambles_are_unbiased_and_converge_fast() {
        let f = |x: &[f64]| x.iter().map(|x| 1.0 + (x - 0.5)).product::<f64>();
        for dims in [4, 70] {
            let replicates: Vec<f64> =
                (0..64).map(|r| matrix(dims, 1024, r).iter().map(|x| f(x)).sum::<f64>() / 1024.0).collect();
            let mean = replicates.iter().sum::<f64>() / 64.0;
            let variance = replicates.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 63.0;
            assert!((mean - 1.0).abs() < 4.0 * (variance / 64.0).sqrt(), "{dims} {mean} {variance}");
            // Random points would have a variance of ((13/12)^dims - 1)/1024.
            let random = ((13.0_f64 / 12.0).powi(dims as i32) - 1.0) / 1024.0;
            assert!(variance < random * if dims == 4 { 1e-3 } else { 0.5 }, "{dims} {variance} {random}");
        }
    }

    /// Different dimensions are not copies of each other, also those that use the same direction numbers.
    #[test]
    fn coordinates_are_uncorrelated() {
        let n = 4096;
        let a = matrix(2 * DIMENSIONS, n, 0);
        let correlation =
            |p: usize, q: usize| 12.0 * a.iter().map(|x| (x[p] - 0.5) * (x[q] - 0.5)).sum::<f64>() / n as f64;
        for (p, q) in [(0, DIMENSIONS), (3, DIMENSIONS + 3), (DIMENSIONS + 5, 9), (1, 2)] {
            // Five standard deviations of the correlation of independent variables.
            let bound = 5.0 / (n as f64).sqrt();
            assert!(correlation(p, q).abs() < bound);
        }
    }

    /// The same bits for ever: recorded experiments depend on it.
    #[test]
    fn points_are_fixed() {
        let mut point = [0.0; 3];
        Sobol::new(3, 0, 0).point(12_345, &mut point);
        assert_eq!(point.map(f64::to_bits), POINT);
    }

    const POINT: [u64; 3] = [0x3fdf_c8d3_2736_c4e6, 0x3fd8_f4bf_be1a_4752, 0x3fa3_edaf_de99_7850];
}
