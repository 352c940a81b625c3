//! (a, b, c)-parametrizations: what they are, and what width does to a perceptron under each.
//!
//! A tensor is `W = multiplier n^-a w` with `w ~ N(0, n^-2b variance)` and learning rate `eta n^-c` (Talk,
//! "abc-parametrizations"; TP IV). The exponents of this module are exact: a perceptron is trained on a loss whose
//! derivative in the output is of order one, by gradient descent, with a smooth activation such as tanh.

use num_traits::Zero;

use crate::network::{Network, Role};
use crate::number::{Power, power};
use crate::program::{Dim, Instr, Kind, Program, ValueId};

/// The exponents of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Abc {
    /// Multiplier exponent.
    pub a: Power,
    /// Initialisation exponent.
    pub b: Power,
    /// Learning-rate exponent.
    pub c: Power,
}

impl Abc {
    /// The exponents `a`, `b` and `c`.
    pub fn new(a: Power, b: Power, c: Power) -> Self {
        Self { a, b, c }
    }

    /// `(a + t, b - t, c - 2t)`: the same network under gradient descent.
    #[must_use]
    pub fn shifted(self, t: Power) -> Self {
        Self { a: self.a + t, b: self.b - t, c: self.c - t * 2 }
    }

    /// `(a + t, b - t, c - t)`: the same network under Adam, if its `epsilon` is multiplied by `n^-t`.
    #[must_use]
    pub fn shifted_for_adam(self, t: Power) -> Self {
        Self { a: self.a + t, b: self.b - t, c: self.c - t }
    }
}

/// What the width does to a perceptron with `L` hidden layers under gradient descent (TP IV, conditions as in the Talk).
///
/// ```
/// use netsor_ir::abc::{Abc, MlpExponents};
/// use netsor_ir::number::power;
///
/// // muP: (-1/2, 1/2, 0), (0, 1/2, 0), (1/2, 1/2, 0)
/// let layers = [-1, 0, 1].map(|a| Abc::new(power(a, 2), power(1, 2), power(0, 1)));
/// let mup = MlpExponents::new(&layers).expect("two layers or more");
/// assert!(mup.stable() && mup.feature_learning() && mup.maximal_updates().iter().all(|&m| m));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlpExponents {
    layers: Vec<Abc>,
    /// `r_l` of the hidden layers: the update of `W^l` changes `h^l` by `n^-r_l`.
    pub r_by_layer: Vec<Power>,
    /// `r = min_l r_l`: the features of the last hidden layer change by `n^-r`.
    pub r: Power,
    /// `a + b` of the readout.
    pub readout: Power,
    /// `2a + c` of the readout.
    pub readout_update: Power,
}

impl MlpExponents {
    /// The exponents for the tensors of all layers, the readout last; `None` for fewer than two tensors.
    pub fn new(layers: &[Abc]) -> Option<Self> {
        let (last, hidden) = layers.split_last()?;
        let readout = last.a + last.b;
        let readout_update = last.a * 2 + last.c;
        let r_of = |(l, layer): (usize, &Abc)| {
            let first = if l == 0 { power(1, 1) } else { Power::zero() };
            readout.min(readout_update) + layer.c - power(1, 1) + layer.a * 2 + first
        };
        let r_by_layer: Vec<Power> = hidden.iter().enumerate().map(r_of).collect();
        let r = r_by_layer.iter().min().copied()?;
        Some(Self { layers: layers.to_vec(), r_by_layer, r, readout, readout_update })
    }

    /// The exponents of a network, if it is a perceptron without biases all of whose tensors are trained: a chain of
    /// matrices, each used once, with coordinatewise functions of single vectors in between. With them, the layer of
    /// each vector, counted from 1, and the output at `L + 1`.
    pub fn of_network(network: &Network) -> Option<(Self, Vec<(ValueId, usize)>)> {
        let program = &network.program;
        let mut layer_of: Vec<Option<usize>> = vec![None; program.values.len()];
        let mut layers = Vec::new();
        for id in program.value_ids() {
            match &program.value(id).instr {
                Instr::Data | Instr::Matrix { .. } => {}
                Instr::MatMul { matrix, transposed, vector } => {
                    let parameter = network.parameter(matrix.value).filter(|p| p.trained)?;
                    let role = network.role(matrix.value);
                    let source = layer_of[vector.value.index()];
                    let next = match (role, source, &program.value(vector.value).instr) {
                        (Role::InputLike, None, Instr::Data) => 1,
                        (Role::Hidden, Some(layer), _) if !transposed => layer + 1,
                        (Role::OutputLike, Some(layer), _) => layer + 1,
                        _ => return None,
                    };
                    // The last one is the readout: nothing comes after it.
                    if next != layers.len() + 1 || !matrix.indices.is_empty() {
                        return None;
                    }
                    layers.push(Abc::new(parameter.a, parameter.b, parameter.c));
                    layer_of[id.index()] = Some(next);
                }
                Instr::Map(_) if of_width(program, id) => {
                    let [source] = program.arguments(id)[..] else { return None };
                    layer_of[id.index()] = Some(layer_of[source.index()]?);
                }
                _ => return None,
            }
        }
        let [output] = network.outputs[..] else { return None };
        let trained = network.parameters.iter().filter(|p| p.trained).count();
        if layer_of[output.index()] != Some(layers.len()) || of_width(program, output) || trained != layers.len() {
            return None;
        }
        let layer = |id: ValueId| layer_of[id.index()].map(|layer| (id, layer));
        Some((Self::new(&layers)?, program.value_ids().filter_map(layer).collect()))
    }

    /// Whether all vectors are of order one at initialisation and the output is of order one at most.
    pub fn initialised_well(&self) -> bool {
        let Some((_, hidden)) = self.layers.split_last() else { return false };
        let right = |(l, layer): (usize, &Abc)| layer.a + layer.b == if l == 0 { Power::zero() } else { power(1, 2) };
        hidden.iter().enumerate().all(right) && power(1, 2) <= self.readout
    }

    /// Whether nothing grows with the width, at initialisation and in training.
    pub fn stable(&self) -> bool {
        let one = power(1, 1);
        self.initialised_well() && Power::zero() <= self.r && one <= self.readout_update && one <= self.readout + self.r
    }

    /// Whether it is stable and the output changes by an order of one.
    pub fn nontrivial(&self) -> bool {
        let one = power(1, 1);
        self.stable() && (self.readout_update == one || self.readout + self.r == one)
    }

    /// Whether it is nontrivial and features change by an order of one.
    pub fn feature_learning(&self) -> bool {
        self.nontrivial() && self.r.is_zero()
    }

    /// Whether it is nontrivial and the limit is gradient descent with a fixed kernel.
    pub fn kernel_regime(&self) -> bool {
        self.nontrivial() && Power::zero() < self.r
    }

    /// For each tensor, the readout last, whether its update has an effect of order one on features of order one.
    pub fn maximal_updates(&self) -> Vec<bool> {
        let hidden = self.r_by_layer.iter().map(Power::is_zero);
        hidden.chain([self.readout_update == power(1, 1)]).collect()
    }

    /// Whether the readout as it was drawn turns the change of the features into one of order one of the output.
    pub fn readout_initialised_maximally(&self) -> bool {
        self.readout + self.r == power(1, 1)
    }

    /// The exponents `e` of the change `n^-e` of each hidden layer from the second step on.
    pub fn change(&self) -> Vec<Power> {
        self.running_minimum(Power::zero())
    }

    /// The same for the first step, when the readout has not moved yet.
    pub fn change_in_first_step(&self) -> Vec<Power> {
        self.running_minimum(self.first_step())
    }

    /// The exponent of the change of the output from the second step on. Where features grow (`r < 0`), so does what
    /// the update of the readout meets.
    pub fn output_change(&self) -> Power {
        let one = power(1, 1);
        (self.readout_update - one + self.r.min(Power::zero())).min(self.readout + self.r - one)
    }

    /// The same for the first step.
    pub fn output_change_in_first_step(&self) -> Power {
        let one = power(1, 1);
        (self.readout_update - one).min(self.readout + self.r + self.first_step() - one)
    }

    /// The exponent of the size of the output at initialisation, by the central limit theorem.
    pub fn output_size(&self) -> Power {
        self.readout - power(1, 2)
    }

    /// What the first step has in addition to `r_l`: the gradient passes through the readout as it was drawn.
    fn first_step(&self) -> Power {
        self.readout - self.readout.min(self.readout_update)
    }

    fn running_minimum(&self, added: Power) -> Vec<Power> {
        let mut least = None;
        let next = |r: &Power| {
            let r = *r + added;
            let now = least.map_or(r, |l: Power| l.min(r));
            least = Some(now);
            now
        };
        self.r_by_layer.iter().map(next).collect()
    }
}

/// Whether a value is a vector of a width.
fn of_width(program: &Program, id: ValueId) -> bool {
    matches!(program.value(id).ty.kind, Kind::Vector(Dim::Width(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse_network;
    use crate::transform::{Parametrization, parametrize};

    fn layers(a: &[(i64, i64)], b: &[(i64, i64)], c: i64) -> Vec<Abc> {
        let tensor = |(a, b): (&(i64, i64), &(i64, i64))| Abc::new(power(a.0, a.1), power(b.0, b.1), power(c, 1));
        a.iter().zip(b).map(tensor).collect()
    }

    /// The table of the Talk: r, 2a + c, a + b + r for SP with rate 1/n, NTP, MFP and muP.
    #[test]
    fn the_table_of_the_talk() {
        let half = (1, 2);
        let sp = layers(&[(0, 1), (0, 1), (0, 1)], &[(0, 1), half, half], 1);
        let ntp = layers(&[(0, 1), half, half], &[(0, 1), (0, 1), (0, 1)], 0);
        let mfp = layers(&[(0, 1), (1, 1)], &[(0, 1), (0, 1)], -1);
        let mup = layers(&[(-1, 2), (0, 1), half], &[half, half, half], 0);
        let row = |l: &[Abc]| {
            let e = MlpExponents::new(l).unwrap();
            assert!(e.nontrivial(), "{e:?}");
            (e.r, e.readout_update, e.readout + e.r, e.feature_learning())
        };
        let one = power(1, 1);
        assert_eq!(row(&sp), (power(1, 2), one, one, false));
        assert_eq!(row(&ntp), (power(1, 2), one, one, false));
        assert_eq!(row(&mfp), (power(0, 1), one, one, true));
        assert_eq!(row(&mup), (power(0, 1), one, one, true));
        // Each tensor by itself can be shifted.
        let shift = |l: &[Abc]| -> Vec<Abc> {
            l.iter().enumerate().map(|(k, abc)| abc.shifted(power(k as i64 + 1, 7))).collect()
        };
        assert_eq!(row(&shift(&mup)), row(&mup));
        assert!(MlpExponents::new(&mup[..1]).is_none());
    }

    #[test]
    fn perceptrons_are_recognised_and_others_are_not() {
        let text = "network mlp {
  data xi : 3
  param U : n x 3 ~ N(0, 1/3)
  param W : n x n ~ N(0, 2/n)
  param v : n x 1 ~ N(0, 1/n)
  g = U * xi
  z = tanh(g)
  h = W * z
  x = tanh(h)
  output f = v' * x
}";
        let network = parse_network(text).unwrap();
        let mup = parametrize(&network, &Parametrization::maximal_update()).unwrap();
        let (exponents, layers) = MlpExponents::of_network(&mup).unwrap();
        assert!(exponents.feature_learning());
        assert_eq!(layers.iter().map(|(_, layer)| *layer).collect::<Vec<_>>(), [1, 1, 2, 2, 3]);
        let others = [
            ("W * z", "W' * z"),
            ("tanh(h)", "tanh(h + g)"),
            ("W : n x n ~ N(0, 2/n)", "W : n x n ~ N(0, 2/n) frozen"),
            ("v' * x", "v' * z"),
        ];
        for (from, to) in others {
            let other = parse_network(&text.replace(from, to)).unwrap();
            assert!(MlpExponents::of_network(&other).is_none(), "{to}");
        }
    }
}
