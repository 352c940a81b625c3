//! What the width does to any layered network: the exponents of the size of each vector and of its change in training.
//!
//! The rule is that of TP IV for perceptrons (see [`crate::abc`]), applied definition by definition instead of layer by
//! layer, so that it covers biases, residual connections, branches, convolutions, gates and recurrence. It counts powers
//! of `n`; `n^-e` has the exponent `e`. With `W = n^-a w`, `w ~ n^-b` and learning rate `n^-c` (for Adam, a step of `w`
//! has entries of order `n^-c`):
//!
//! | quantity | gradient descent | Adam |
//! | --- | --- | --- |
//! | `W x` at the start, `x` of width `n` | `a + b - 1/2` (central limit) | the same |
//! | update of `W` on `x`, `h = W x` | `2a + c + g(h)`, less 1 if `x` has width `n` | `a + c`, less 1 if `x` has width `n` |
//! | update of a bias `h` | `2a + c + g(h)` | `a + c` |
//! | adjoint `g(x)` below a readout `V' x` | `a + b`; after the first step `min(a + b, 2a + c)` | not needed |
//! | adjoint `g(x)` below `h = W x` | `a + b - 1/2 + g(h)` | not needed |
//! | change of `V' x` by that of `x` | `a + b - 1 + e(x)` (law of large numbers: `x` moves along `V`) | the same |
//! | weight decay | `c` and the exponent of what the tensor makes | the same |
//!
//! A sum has the least exponent of its terms, a coordinatewise function of vectors of order one the least change. These
//! are orders of generic size: a coefficient that vanishes by a symmetry makes the truth smaller.

use thiserror::Error;

use crate::expr::Expr;
use crate::network::Network;
use crate::number::{Power, power};
use crate::program::{Dim, Instr, Kind, ValueId};

/// How gradients become steps, as far as the width cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateRule {
    /// Gradient descent, with or without momentum: a step is proportional to the gradient.
    GradientDescent,
    /// Adam: every entry moves by the learning rate, however small its gradient is.
    Adam,
}

/// Why there are no exponents.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no exponents are predicted, because of `{name}`: {reason}")]
pub struct NoExponents {
    /// The definition at which the rule ends.
    pub name: String,
    /// What it has.
    pub reason: String,
}

/// The exponents of every value of a network; `None` where a value does not change at all.
///
/// ```
/// use netsor_ir::exponents::{NetworkExponents, UpdateRule};
/// use netsor_ir::number::power;
/// use netsor_ir::syntax::parse_network;
/// use netsor_ir::transform::{Parametrization, parametrize};
///
/// let network = parse_network(
///     "network residual {
///        data xi : 3
///        param U : n x 3 ~ N(0, 1/3)
///        param W : n x n ~ N(0, 1/n)
///        param b : n ~ N(0, 1)
///        param v : n x 1 ~ N(0, 1/n)
///        h = U * xi
///        g = W * h
///        x = h + tanh(g + b)
///        output f = v' * x
///      }",
/// )?;
/// let network = parametrize(&network, &Parametrization::ntk())?;
/// let exponents = NetworkExponents::of(&network, UpdateRule::GradientDescent, false)?;
/// let x = network.program.find("x").expect("it is there");
/// assert_eq!(exponents.change(x), Some(power(1, 2)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkExponents {
    sizes: Vec<Power>,
    first: Vec<Option<Power>>,
    later: Vec<Option<Power>>,
}

impl NetworkExponents {
    /// The exponents of a network that is trained from its draw, on a loss whose derivative in the outputs is of order
    /// one; `decay` says whether there is weight decay.
    ///
    /// # Errors
    /// If a vector is not of order one at the start, or a definition is none that the rule covers: a Moment, a matrix
    /// that is used with its transpose, a vector of constant size between two layers, an explicit power of the width.
    pub fn of(network: &Network, rule: UpdateRule, decay: bool) -> Result<Self, NoExponents> {
        let layers = Layers { network, rule, decay };
        layers.check()?;
        let sizes = layers.sizes()?;
        let of_step = |first| layers.changes(&sizes, &layers.adjoints(first), first);
        let (first, later) = (of_step(true), of_step(false));
        Ok(Self { sizes, first, later })
    }

    /// The exponent of the size at the start.
    pub fn size(&self, value: ValueId) -> Option<Power> {
        self.sizes.get(value.index()).copied()
    }

    /// The exponent of the change in the first step, when readouts have not moved yet.
    pub fn change_in_first_step(&self, value: ValueId) -> Option<Power> {
        self.first.get(value.index()).copied().flatten()
    }

    /// The exponent of the change from the second step on.
    pub fn change(&self, value: ValueId) -> Option<Power> {
        self.later.get(value.index()).copied().flatten()
    }
}

/// The exponents of a tensor.
struct Tensor {
    /// `a + b`
    drawn: Power,
    /// `2a + c`, or `a + c` for Adam; `None` if it is not trained.
    update: Option<Power>,
    c: Power,
}

struct Layers<'a> {
    network: &'a Network,
    rule: UpdateRule,
    decay: bool,
}

impl Layers<'_> {
    fn fail<X>(&self, id: ValueId, reason: impl Into<String>) -> Result<X, NoExponents> {
        Err(NoExponents { name: self.network.program.value(id).name.clone(), reason: reason.into() })
    }

    /// Whether a value is a vector of a width.
    fn is_wide(&self, id: ValueId) -> bool {
        matches!(self.network.program.value(id).ty.kind, Kind::Vector(Dim::Width(_)))
    }

    fn tensor(&self, id: ValueId) -> Tensor {
        let program = &self.network.program;
        match (self.network.parameter(id), &program.value(id).instr) {
            (Some(p), _) => {
                let update = match self.rule {
                    UpdateRule::GradientDescent => p.a * 2 + p.c,
                    UpdateRule::Adam => p.a + p.c,
                };
                Tensor { drawn: p.a + p.b, update: p.trained.then_some(update), c: p.c }
            }
            (None, Instr::Matrix { variance }) => Tensor { drawn: -variance.power / 2, update: None, c: power(0, 1) },
            _ => Tensor { drawn: power(0, 1), update: None, c: power(0, 1) },
        }
    }

    /// Refuses what the rule does not cover.
    fn check(&self) -> Result<(), NoExponents> {
        let program = &self.network.program;
        let mut orientation = vec![None; program.values.len()];
        for id in program.value_ids() {
            let mut exprs = Vec::new();
            match &program.value(id).instr {
                Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } => {}
                Instr::Gaussian(law) => exprs.extend([law.mean, law.covariance]),
                Instr::MatMul { matrix, transposed, vector } => {
                    if *orientation[matrix.value.index()].get_or_insert(*transposed) != *transposed {
                        return self.fail(id, "its matrix is also used transposed");
                    }
                    let computed = matches!(program.value(vector.value).instr, Instr::MatMul { .. } | Instr::Map(_));
                    if computed && !self.is_wide(vector.value) {
                        return self.fail(id, "it has a computed vector of constant size as input");
                    }
                }
                Instr::Map(expr) => {
                    let scalar = |v: &ValueId| {
                        let value = program.value(*v);
                        value.ty.kind == Kind::Scalar && !matches!(value.instr, Instr::Data)
                    };
                    if program.arguments(id).iter().any(scalar) {
                        return self.fail(id, "it depends on a scalar that the network computes");
                    }
                    exprs.push(*expr);
                }
                // Harmless where nothing depends on it; a Map that does is refused.
                Instr::Moment(_) | Instr::Scalar(_) => {
                    if self.network.outputs.contains(&id) {
                        return self.fail(id, "the output is a scalar and no readout");
                    }
                }
            }
            let mut width = false;
            for expr in exprs {
                program.exprs.visit(expr, &mut |node| width |= matches!(node, Expr::Width(_)));
            }
            if width {
                return self.fail(id, "it has an explicit power of the width");
            }
        }
        Ok(())
    }

    /// The exponents at the start; vectors of a width that functions are applied to must be of order one.
    fn sizes(&self) -> Result<Vec<Power>, NoExponents> {
        let program = &self.network.program;
        let zero = power(0, 1);
        let mut sizes = vec![zero; program.values.len()];
        for id in program.value_ids() {
            sizes[id.index()] = match &program.value(id).instr {
                Instr::MatMul { matrix, vector, .. } => {
                    let sum = if self.is_wide(vector.value) { power(1, 2) } else { zero };
                    self.tensor(matrix.value).drawn - sum + sizes[vector.value.index()]
                }
                Instr::Gaussian(_) => self.tensor(id).drawn,
                Instr::Map(_) => program.arguments(id).iter().map(|v| sizes[v.index()]).min().unwrap_or(zero),
                _ => zero,
            };
            let computed = matches!(program.value(id).instr, Instr::MatMul { .. } | Instr::Map(_));
            if computed && self.is_wide(id) && sizes[id.index()] != zero {
                let reason = format!("its size is n^({}) at the start and not of order one", -sizes[id.index()]);
                return self.fail(id, reason);
            }
        }
        Ok(sizes)
    }

    /// The exponents of the derivatives of the outputs in each value; `None` where there is none.
    fn adjoints(&self, first: bool) -> Vec<Option<Power>> {
        let program = &self.network.program;
        let mut adjoints: Vec<Option<Power>> = vec![None; program.values.len()];
        for &output in &self.network.outputs {
            adjoints[output.index()] = Some(power(0, 1));
        }
        for id in program.value_ids().rev() {
            let Some(own) = adjoints[id.index()] else { continue };
            let mut add = |to: ValueId, exponent: Power| {
                let old = &mut adjoints[to.index()];
                *old = least(*old, Some(exponent));
            };
            match &program.value(id).instr {
                Instr::MatMul { matrix, vector, .. } => {
                    let tensor = self.tensor(matrix.value);
                    if self.is_wide(id) {
                        add(vector.value, own + tensor.drawn - power(1, 2));
                    } else {
                        let moved = tensor.update.filter(|_| !first);
                        add(vector.value, own + moved.map_or(tensor.drawn, |update| update.min(tensor.drawn)));
                    }
                }
                Instr::Map(_) => program.arguments(id).iter().for_each(|&argument| add(argument, own)),
                _ => {}
            }
        }
        adjoints
    }

    /// The exponents of the changes, for given adjoints.
    fn changes(&self, sizes: &[Power], adjoints: &[Option<Power>], first: bool) -> Vec<Option<Power>> {
        let program = &self.network.program;
        let one = power(1, 1);
        // The update of a tensor, before what it meets is summed over: its uses add up.
        let mut updates: Vec<Option<Power>> = vec![None; program.values.len()];
        let update = |tensor: ValueId, product: ValueId| {
            let adjoint = adjoints[product.index()]?;
            let update = self.tensor(tensor).update?;
            Some(match self.rule {
                UpdateRule::GradientDescent => update + adjoint,
                UpdateRule::Adam => update,
            })
        };
        for id in program.value_ids() {
            if let Instr::MatMul { matrix, .. } = &program.value(id).instr {
                let at = matrix.value.index();
                updates[at] = least(updates[at], update(matrix.value, id));
            }
        }
        let mut changes: Vec<Option<Power>> = vec![None; program.values.len()];
        for id in program.value_ids() {
            let decayed = |tensor: ValueId| {
                let Tensor { update, c, .. } = self.tensor(tensor);
                (self.decay && update.is_some()).then(|| c + sizes[id.index()])
            };
            changes[id.index()] = match &program.value(id).instr {
                Instr::Gaussian(_) => least(update(id, id), decayed(id)),
                Instr::MatMul { matrix, vector, .. } => {
                    let tensor = self.tensor(matrix.value);
                    let (input, wide) = (changes[vector.value.index()], self.is_wide(vector.value));
                    let own = updates[matrix.value.index()].map(|update| if wide { update - one } else { update });
                    let own = least(own, decayed(matrix.value));
                    let through = if self.is_wide(id) {
                        input.map(|input| tensor.drawn - power(1, 2) + input)
                    } else {
                        let moved = tensor.update.filter(|_| !first);
                        input.map(|input| moved.map_or(tensor.drawn, |u| u.min(tensor.drawn)) - one + input)
                    };
                    least(own, through)
                }
                Instr::Map(_) => program.arguments(id).iter().map(|v| changes[v.index()]).fold(None, least),
                _ => None,
            };
        }
        changes
    }
}

/// The exponent of a sum: the least one, where `None` is nothing.
fn least(a: Option<Power>, b: Option<Power>) -> Option<Power> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abc::MlpExponents;
    use crate::syntax::parse_network;
    use crate::transform::{Parametrization, parametrize};

    const MLP: &str = "network mlp {
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

    /// Perceptrons by the general rule and by the formulas of TP IV, which were measured: all well initialised
    /// parametrizations of a grid, stable or not.
    #[test]
    fn perceptrons_are_a_special_case() {
        let network = parse_network(MLP).unwrap();
        let mut seen = 0;
        for number in 0..3usize.pow(4) * 4 {
            let digit = |k: u32| (number / 3usize.pow(k) % 3) as i64;
            let mut other = network.clone();
            let half = |k: i64| power(k, 2);
            let readout = (number / 81) as i64;
            let layers = [
                (half(-digit(0)), half(0), digit(1)),
                (half(digit(2)), half(1), digit(3)),
                (half(1), half(readout + 1), digit(1)),
            ];
            for (p, (a, sum, c)) in other.parameters.iter_mut().zip(layers) {
                (p.a, p.b, p.c) = (a, sum - a, half(c));
            }
            let (mlp, layer_of) = MlpExponents::of_network(&other).unwrap();
            if !mlp.initialised_well() {
                continue;
            }
            seen += 1;
            let exponents = NetworkExponents::of(&other, UpdateRule::GradientDescent, false).unwrap();
            for (value, layer) in layer_of {
                let (first, later) = match mlp.change().get(layer - 1) {
                    Some(&later) => (mlp.change_in_first_step()[layer - 1], later),
                    None => (mlp.output_change_in_first_step(), mlp.output_change()),
                };
                assert_eq!(exponents.change_in_first_step(value), Some(first), "{number} {layer}");
                assert_eq!(exponents.change(value), Some(later), "{number} {layer}");
            }
            let f = other.outputs[0];
            assert_eq!(exponents.size(f), Some(mlp.output_size()));
        }
        assert!(100 < seen, "{seen}");
    }

    const RESIDUAL: &str = "network residual {
  axis t = 2
  data xi[t] : 3
  param U : n x 3 ~ N(0, 1/3)
  param B : n ~ N(0, 1)
  param W : n x n ~ N(0, 1/n)
  param v : n x 2 ~ N(0, 1/n)
  g[t] = U * xi[t]
  z[t] = tanh(g[t] + B)
  h[t] = W * z[t]
  x[t] = z[t] + tanh(h[t])
  k[t] = W * x[t]
  y = sum t x[t] * tanh(k[t])
  output f = v' * y
}";

    /// Biases, residual connections, gates and a matrix that is used twice: what makes a parametrization muP for a
    /// perceptron makes it muP here, and likewise for the kernel regime.
    #[test]
    fn layered_networks() {
        let network = parse_network(RESIDUAL).unwrap();
        let of = |p: &Parametrization, rule| {
            let network = parametrize(&network, p).unwrap();
            let exponents = NetworkExponents::of(&network, rule, false).unwrap();
            let change = |name: &str| exponents.change(network.program.find(name).unwrap()).unwrap();
            ["g", "z", "h", "x", "k", "y", "B", "f"].map(change)
        };
        let zero = power(0, 1);
        assert_eq!(of(&Parametrization::maximal_update(), UpdateRule::GradientDescent), [zero; 8]);
        let adam = Parametrization::from_name("mup-adam").unwrap();
        assert_eq!(of(&adam, UpdateRule::Adam), [zero; 8]);
        let mut kernel = [power(1, 2); 8];
        kernel[7] = zero;
        assert_eq!(of(&Parametrization::ntk(), UpdateRule::GradientDescent), kernel);
    }

    #[test]
    fn what_the_rule_does_not_cover_is_refused() {
        let reason = |from: &str, to: &str| {
            let network = parse_network(&MLP.replace(from, to)).unwrap();
            NetworkExponents::of(&network, UpdateRule::GradientDescent, false).unwrap_err().to_string()
        };
        assert!(reason("h = W * z", "y = W * z\n  h = W' * y").contains("also used transposed"));
        assert!(reason("N(0, 2/n)", "N(0, 2)").contains("not of order one"));
        assert!(reason("z = tanh(g)", "moment m = mean(g^2)\n  z = tanh(g) / m^(1/2)").contains("scalar"));
        assert!(reason("z = tanh(g)", "z = n^(1/2) * tanh(g)").contains("power of the width"));
        // A frozen tensor changes nothing, weight decay alone does.
        let frozen = parse_network(&MLP.replace("N(0, 1/3)", "N(0, 1/3) frozen")).unwrap();
        let g = frozen.program.find("g").unwrap();
        let of = |network, decay| NetworkExponents::of(network, UpdateRule::GradientDescent, decay).unwrap();
        assert_eq!(of(&frozen, true).change(g), None);
        let network = parametrize(&parse_network(MLP).unwrap(), &Parametrization::ntk()).unwrap();
        assert_eq!(of(&network, true).change(g), Some(power(0, 1)));
    }
}
