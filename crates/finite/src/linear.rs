//! A network near its parameters: derivatives along a change of them, its linearisation and Taylor expansion, and the
//! tangent kernel as a linear map.

use std::borrow::Cow;

use netsor_ir::program::ValueId;
use netsor_ir::transform::{Jets, jets};

use crate::state::{Shape, check_finite};
use crate::{Executor, FiniteError, Float, Inputs, State, Trainer};

/// A change of the trained parameters: one block of numbers a parameter, in the layout of [`Inputs`].
pub type Change = Vec<(ValueId, Vec<f64>)>;

/// The Taylor expansion of a network in its trained parameters, about the parameters that a [`Trainer`] has: order 1 is
/// the linearised network.
///
/// No Jacobian is formed: an evaluation costs some matrix products for each order.
///
/// ```
/// use netsor_finite::{Inputs, Options, Taylor, Trainer};
/// use netsor_ir::syntax::parse_network;
/// use netsor_ir::verify::verify_network;
///
/// let network = parse_network(
///     "network small {
///        data xi : 2
///        param U : n x 2 ~ N(0, 1/2)
///        param v : n x 1 ~ N(0, 1/n)
///        h = U * xi
///        output f = v' * h
///      }",
/// )?;
/// let network = verify_network(network)?;
/// let xi = network.program.find("xi").expect("it is there");
/// let inputs = Inputs::new().with(xi, vec![1.0, -2.0]);
/// let mut trainer = Trainer::<f64>::new(&network, &inputs, Options::new(8, 1))?;
/// // Of second order, the expansion of a network that is quadratic in its parameters is exact.
/// let mut taylor = Taylor::new(&mut trainer, 2)?;
/// trainer.step(0.1, &[vec![1.0]])?;
/// let change = taylor.change_to(&trainer);
/// let (expansion, truth) = (taylor.outputs(&change)?, trainer.outputs()?);
/// assert!((expansion[0][0] - truth[0][0]).abs() < 1e-14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Taylor<T> {
    executor: Executor<'static, T>,
    state: State<T>,
    directions: Vec<(ValueId, ValueId)>,
    outputs: Vec<Vec<ValueId>>,
}

impl<T: Float> Taylor<T> {
    /// The expansion of the given order about the present parameters, on the present data.
    ///
    /// # Errors
    /// If the network cannot be differentiated, or values are missing.
    pub fn new(trainer: &mut Trainer<T>, order: usize) -> Result<Self, FiniteError> {
        let Jets { program, directions, outputs } = jets(trainer.network(), order)?;
        let options = trainer.options().clone();
        let mut state = State::of(&program, &Inputs::new(), &options)?;
        let initial: Vec<ValueId> = trainer.initial_values();
        let from = trainer.values(&initial)?;
        for id in initial {
            if let Some(block) = from.block(id) {
                state.store(id, block.clone());
                state.given[id.index()] = true;
            }
        }
        let executor = Executor::of(Cow::Owned(program), options)?;
        Ok(Self { executor, state, directions, outputs })
    }

    /// The derivatives of the outputs along a change, of order 0, 1, 2, ...: `[order][output]`.
    ///
    /// # Errors
    /// If the change is not one of the trained parameters, or a number is not finite.
    pub fn derivatives(&mut self, change: &[(ValueId, Vec<f64>)]) -> Result<Vec<Vec<Vec<f64>>>, FiniteError> {
        for &(parameter, direction) in &self.directions {
            let shape = Shape::of(self.executor.program(), direction, self.executor.options())?;
            let mut block = self.state.reuse(direction, shape);
            match change.iter().find(|(value, _)| *value == parameter) {
                Some((_, numbers)) if numbers.len() == block.data.len() => {
                    block.data.iter_mut().zip(numbers).for_each(|(x, &number)| *x = T::of(number));
                }
                Some((_, numbers)) => {
                    let value = self.executor.program().value(parameter).name.clone();
                    return Err(FiniteError::Length { value, expected: block.data.len(), found: numbers.len() });
                }
                None => block.data.fill(T::of(0.0)),
            }
            check_finite(self.executor.program(), direction, &block)?;
            self.state.store(direction, block);
            self.state.given[direction.index()] = true;
        }
        if let Some((unknown, _)) = change.iter().find(|(v, _)| self.directions.iter().all(|(p, _)| p != v)) {
            return Err(FiniteError::UnknownName { name: format!("{unknown:?}") });
        }
        self.state.forget_computed(self.executor.program());
        let wanted: Vec<ValueId> = self.outputs.concat();
        self.executor.run(&mut self.state, &wanted)?;
        let orders = self.outputs.first().map_or(0, Vec::len);
        let of = |order: usize| self.outputs.iter().map(|o| self.state.numbers(o[order])).collect();
        Ok((0..orders).map(of).collect())
    }

    /// The expansion at the parameters changed by `change`: `sum over k of f^(k) / k!`.
    ///
    /// # Errors
    /// As for [`Taylor::derivatives`].
    pub fn outputs(&mut self, change: &[(ValueId, Vec<f64>)]) -> Result<Vec<Vec<f64>>, FiniteError> {
        let derivatives = self.derivatives(change)?;
        let mut total: Vec<Vec<f64>> = derivatives.first().cloned().unwrap_or_default();
        let mut factorial = 1.0;
        for (order, outputs) in derivatives.iter().enumerate().skip(1) {
            factorial *= order as f64;
            for (total, output) in total.iter_mut().zip(outputs) {
                total.iter_mut().zip(output).for_each(|(t, d)| *t += d / factorial);
            }
        }
        Ok(total)
    }

    /// From the centre of the expansion to where a trainer of the same network is.
    pub fn change_to(&self, trainer: &Trainer<T>) -> Change {
        let difference = |value: ValueId| {
            let (now, centre) = (trainer.parameter(value), self.state.numbers(value));
            now.iter().zip(centre).map(|(a, b)| a - b).collect()
        };
        trainer.trained().map(|value| (value, difference(value))).collect()
    }
}

/// The linearised network in training: outputs are linear in the parameters, features are those at the start.
#[derive(Clone, Debug)]
pub struct Linearised<T> {
    trainer: Trainer<T>,
    taylor: Taylor<T>,
    change: Change,
}

impl<T: Float> Linearised<T> {
    /// The linearisation about the parameters of `trainer`, on its data.
    ///
    /// # Errors
    /// As for [`Taylor::new`].
    pub fn new(mut trainer: Trainer<T>) -> Result<Self, FiniteError> {
        let taylor = Taylor::new(&mut trainer, 1)?;
        let change = taylor.change_to(&trainer);
        Ok(Self { trainer, taylor, change })
    }

    /// The outputs `f_0 + J change`.
    ///
    /// # Errors
    /// As for [`Taylor::derivatives`].
    pub fn outputs(&mut self) -> Result<Vec<Vec<f64>>, FiniteError> {
        self.taylor.outputs(&self.change)
    }

    /// A step of gradient descent with the rates of the parameters.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn step(&mut self, eta: f64, cotangents: &[Vec<f64>]) -> Result<(), FiniteError> {
        let direction = self.trainer.rated_gradients(cotangents)?;
        for ((_, change), (_, direction)) in self.change.iter_mut().zip(direction) {
            change.iter_mut().zip(direction).for_each(|(c, d)| *c -= eta * d);
        }
        Ok(())
    }

    /// The squared norm of the change of the tensors `w`, each divided by its learning rate: `sum |dw|^2 n^c`. Where the
    /// change is a sum of gradients, this is the squared norm in the space of the tangent kernel.
    pub fn squared_norm(&self) -> f64 {
        let of = |(value, change): &(ValueId, Vec<f64>)| {
            let rate = self.trainer.scales(*value).map_or(1.0, |s| s.eta * s.multiplier * s.multiplier);
            change.iter().map(|x| x * x).sum::<f64>() / rate
        };
        self.change.iter().map(of).sum()
    }

    /// The tangent kernel times a vector over the outputs, `K v = J rate J' v`, summed over outputs: two passes through
    /// the network and no kernel matrix.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn kernel_times(&mut self, vector: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, FiniteError> {
        let direction = self.trainer.rated_gradients(vector)?;
        Ok(self.taylor.derivatives(&direction)?.swap_remove(1))
    }
}
