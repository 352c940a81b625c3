//! Random mutation of inputs, for compilers without coverage instrumentation.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Pieces of the language, of numbers and of binary headers that damage more than single bytes do.
const PIECES: [&[u8]; 64] = [
    b"program p {",
    b"network n {",
    b"}",
    b"axis i = 2\n",
    b"width m = 3/2 * n\n",
    b"table t[i] = [1, 2]\n",
    b"data x[i] : 3\n",
    b"matrix W ~ N(0, 1/n)\n",
    b"vector a ~ N(0, 1)\n",
    b"param v : n x 1 ~ N(0, 1/n)\n",
    b" frozen",
    b" with a = 1/2",
    b"output f = v' * x\n",
    b"moment m = mean(a * a)\n",
    b"scalar s = m^2\n",
    b"for t in 1..=3 {",
    b"stack y[i] = a, a\n",
    b"sum i ",
    b"[i = 2*j + 1]",
    b"[i <= j]",
    b" mod 3",
    b"joint",
    b", cov(a) = 1/2",
    b"@1",
    b"@(t - 1)",
    b"'",
    b"[i, i']",
    b"tanh(",
    b"leaky_relu(a, 1/2)",
    b"max(a, b)",
    b"^(1/2)",
    b"^-1",
    b"n^(-1/2)",
    b"1e400",
    b"-0",
    b"0.1",
    b"9999999999",
    b"1/0",
    b"(",
    b")",
    b"*",
    b"/",
    b"+",
    b"-",
    b"~",
    b":",
    b",",
    b"\n",
    b"# comment\n",
    b"\"",
    b"\\u0000",
    b"{\"netsor\": 1, \"text\": \"",
    b"\xf0\x9f\xa7\xa0",
    b"\xff",
    b"\x93NUMPY\x01\x00",
    b"'fortran_order': True",
    b"(3, 4)",
    b"'<f8'",
    b"\x00\x00\x08\x03",
    b"NaN",
    b"inf",
    b";",
    b"\r\n",
    b"class",
];

/// A stream of mutants.
pub struct Mutator {
    rng: ChaCha8Rng,
}

impl Mutator {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// One of the inputs with a few changes. Longer than 4096 bytes is cut.
    pub fn mutant(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = match inputs.len() {
            0 => Vec::new(),
            n => inputs[self.rng.random_range(0..n)].clone(),
        };
        for _ in 0..self.rng.random_range(1..=6) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(4096);
        bytes
    }

    fn span(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.rng.random_range(0..=length);
        let most = (length - start).min(40);
        start..start + self.rng.random_range(0..=most)
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let span = self.span(bytes.len());
        match self.rng.random_range(0..7) {
            0 => drop(bytes.splice(span, [])),
            1 => {
                let piece = PIECES[self.rng.random_range(0..PIECES.len())];
                bytes.splice(span.start..span.start, piece.iter().copied());
            }
            2 => {
                let piece = PIECES[self.rng.random_range(0..PIECES.len())];
                bytes.splice(span, piece.iter().copied());
            }
            3 => {
                let copy = bytes[span.clone()].to_vec();
                let at = self.rng.random_range(0..=bytes.len());
                bytes.splice(at..at, copy);
            }
            4 if !bytes.is_empty() => {
                let at = self.rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << self.rng.random_range(0..8);
            }
            5 if !bytes.is_empty() => {
                let at = self.rng.random_range(0..bytes.len());
                bytes[at] = (self.rng.next_u32() & 0xff) as u8;
            }
            _ if !inputs.is_empty() => {
                let other = &inputs[self.rng.random_range(0..inputs.len())];
                let from = self.span(other.len());
                bytes.splice(span, other[from].iter().copied());
            }
            _ => {}
        }
    }
}
