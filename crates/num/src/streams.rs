//! Independent random streams from one seed.
//!
//! A stream is named by what it is for and an index: `stream("weights", 3)`.
//! Its ChaCha key is a hash of the seed and the purpose, so a program that draws for a new purpose leaves all other draws as they were; the index selects one of the 2^64 streams of that key.
//! Normal variables are quantiles of uniform ones, so they are the same on every platform.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::normal;

/// The source of all random streams of a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams that belong to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed that was given.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stream number `index` for `purpose`, at its beginning.
    pub fn stream(&self, purpose: &str, index: u64) -> ChaCha12Rng {
        let mut state = splitmix(self.seed ^ splitmix(fnv1a(purpose.as_bytes())));
        let mut key = [0; 32];
        for word in key.chunks_exact_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&splitmix(state).to_le_bytes());
        }
        let mut rng = ChaCha12Rng::from_seed(key);
        rng.set_stream(index);
        rng
    }
}

/// A uniform variable in the open interval (0, 1): the midpoint of one of 2^53 equal cells.
pub fn uniform(rng: &mut impl Rng) -> f64 {
    const CELL: f64 = 1.0 / (1_u64 << 53) as f64;
    ((rng.next_u64() >> 11) as f64 + 0.5) * CELL
}

/// A standard normal variable.
pub fn normal(rng: &mut impl Rng) -> f64 {
    normal::quantile(uniform(rng))
}

/// Fills `out` with independent standard normal variables, in order.
pub fn fill_normal(rng: &mut impl Rng, out: &mut [f64]) {
    for x in out {
        *x = normal(rng);
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64-bit words that mixes well.
pub(crate) fn splitmix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The 64-bit hash of Fowler, Noll and Vo, variant 1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, purpose: &str, index: u64) -> u64 {
        Streams::new(seed).stream(purpose, index).next_u64()
    }

    #[test]
    fn streams_differ_and_repeat() {
        let all = [first(0, "w", 0), first(1, "w", 0), first(0, "v", 0), first(0, "w", 1), first(0, "", 0)];
        for (i, x) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|y| x != y));
        }
        assert_eq!(first(0, "w", 0), all[0]);
    }

    /// These bits are a promise: results recorded with a seed can be made again.
    #[test]
    fn draws_are_fixed() {
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c, "the published test vector of FNV-1a");
        let mut z = [0.0; 3];
        fill_normal(&mut Streams::new(2026).stream("weights", 5), &mut z);
        assert_eq!(z.map(f64::to_bits), DRAWS);
    }

    const DRAWS: [u64; 3] = [0x3fca_854c_4f0b_50c8, 0x3ff0_f7eb_230e_f824, 0xbfd3_e6aa_ef25_72e4];

    /// Sample moments within five standard errors of those of the normal law.
    #[test]
    fn normal_moments() {
        let n = 200_000;
        let mut z = vec![0.0; n];
        fill_normal(&mut Streams::new(1).stream("moments", 0), &mut z);
        for (power, moment, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let mean = z.iter().map(|x| x.powi(power)).sum::<f64>() / n as f64;
            assert!((mean - moment).abs() < 5.0 * (variance / n as f64).sqrt(), "power {power}: {mean}");
        }
    }
}
