//! What the claims about the hierarchy share: networks of Huang and Yau on small digits.

use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::verify::Verified;
use netsor_nth::{HuangYau, Smooth};

use super::setup::{TwoClasses, find};
use crate::Context;

/// Side of the images after averaging squares of four pixels.
const SIDE: usize = 4;

/// Training and test points for the hierarchy: digits 4 and 9 of 4 x 4 pixels with `|x| = 1`, as the paper's
/// Assumption 2.2 wants them. Few and small, because `K^(4)` has an entry for every four points.
pub(super) struct SmallDigits {
    inputs: Vec<f64>,
    n_points: usize,
    pub(super) n_train: usize,
    /// +1 and -1 on the training points.
    pub(super) targets: Vec<f64>,
}

impl SmallDigits {
    pub(super) fn load(ctx: &Context, n_train: usize, n_test: usize) -> anyhow::Result<Self> {
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let n_points = data.n_points();
        let side = 2 * SIDE;
        let mut inputs = Vec::new();
        for image in data.inputs.chunks(side * side) {
            let pixel = |k: usize| {
                let (row, col) = (2 * (k / SIDE), 2 * (k % SIDE));
                let at = |r: usize, c: usize| image[(row + r) * side + col + c];
                (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0
            };
            let small: Vec<f64> = (0..SIDE * SIDE).map(pixel).collect();
            let norm = small.iter().map(|x| x * x).sum::<f64>().sqrt();
            inputs.extend(small.iter().map(|x| x / norm));
        }
        Ok(Self { inputs, n_points, n_train, targets: data.targets[..n_train].to_vec() })
    }

    /// Training and test points.
    pub(super) fn n_points(&self) -> usize {
        self.n_points
    }

    /// Pixels of a point.
    pub(super) fn dim(&self) -> usize {
        SIDE * SIDE
    }

    /// The pixels of all points, one point after the other.
    pub(super) fn numbers(&self) -> &[f64] {
        &self.inputs
    }

    /// The network of `hidden` layers with tanh and standard normal weights, with the data.
    pub(super) fn network(&self, hidden: u32) -> anyhow::Result<(Verified<Network>, Inputs)> {
        let paper = HuangYau {
            points: self.n_points as u32,
            dim: (SIDE * SIDE) as u32,
            hidden,
            activation: Smooth::Tanh,
            sigma_w: 1.0,
            sigma_a: 1.0,
        };
        let network = paper.network()?;
        let x = find(&network.program, "x")?;
        Ok((network, Inputs::new().with(x, self.inputs.clone())))
    }
}
