//! Training on data that do not fit into one batch: examples are supplied batch by batch.

use netsor_ir::Id;
use netsor_ir::network::Network;
use netsor_ir::program::{Axis, Instr, ValueId};
use netsor_num::streams::{Streams, uniform};
use serde::{Deserialize, Serialize};

use crate::{FiniteError, Float, Loss, Trainer};

/// Examples for a network with one data value, whose first axis counts them, and one output.
#[derive(Clone, Debug)]
pub struct Examples<'a> {
    data: ValueId,
    axis: Id<Axis>,
    inputs: &'a [f64],
    targets: &'a [f64],
    count: usize,
}

impl<'a> Examples<'a> {
    /// `inputs` and `targets` have one example after the other, in the layout of the data and of the output.
    ///
    /// # Errors
    /// If the network has not exactly one data value and one output, both families over one axis first, or the numbers
    /// are not those of `count` examples.
    pub fn new(network: &Network, count: usize, inputs: &'a [f64], targets: &'a [f64]) -> Result<Self, FiniteError> {
        let program = &network.program;
        let malformed = |problem: &str| FiniteError::Malformed { value: program.name.clone(), problem: problem.into() };
        let mut data = program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data));
        let (Some(data), None) = (data.next(), data.next()) else {
            return Err(malformed("training in batches needs exactly one data value"));
        };
        let [output] = network.outputs[..] else {
            return Err(malformed("training in batches needs exactly one output"));
        };
        let first = |id: ValueId| program.value(id).ty.family.first().copied();
        let Some(axis) = first(data).filter(|axis| first(output) == Some(*axis)) else {
            return Err(malformed("the first index of data and output must count the examples"));
        };
        if count == 0 {
            return Err(FiniteError::Option { what: "the number of examples", expected: "at least 1", found: 0.0 });
        }
        for (value, numbers) in [(data, inputs), (output, targets)] {
            let expected = count * per_example(network, value);
            if numbers.len() != expected {
                let value = program.value(value).name.clone();
                return Err(FiniteError::Length { value, expected, found: numbers.len() });
            }
        }
        Ok(Self { data, axis, inputs, targets, count })
    }

    /// Number of examples.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Makes these examples the trainer's batch, and gives their targets.
    ///
    /// # Errors
    /// If an example does not exist, or as for [`Trainer::resize`] and [`Trainer::supply`].
    pub fn supply<T: Float>(&self, trainer: &mut Trainer<T>, batch: &[usize]) -> Result<Vec<f64>, FiniteError> {
        self.place(trainer, batch)?;
        Ok(trainer.batch.1.clone())
    }

    /// Makes these examples the trainer's batch; their targets are in the trainer's memory.
    ///
    /// # Errors
    /// If an example does not exist, or as for [`Trainer::resize`] and [`Trainer::supply`].
    fn place<T: Float>(&self, trainer: &mut Trainer<T>, batch: &[usize]) -> Result<(), FiniteError> {
        if let Some(&bad) = batch.iter().find(|&&e| self.count <= e) {
            let (what, expected) = ("an example of a batch", "less than the number of examples");
            return Err(FiniteError::Option { what, expected, found: bad as f64 });
        }
        trainer.resize(self.axis, batch.len() as u32)?;
        let (mut rows, mut targets) = std::mem::take(&mut trainer.batch);
        self.gather(self.inputs, batch, &mut rows);
        self.gather(self.targets, batch, &mut targets);
        let result = trainer.supply(self.data, &rows);
        trainer.batch = (rows, targets);
        result
    }

    /// The numbers of the examples of a batch.
    fn gather(&self, numbers: &[f64], batch: &[usize], out: &mut Vec<f64>) {
        let each = numbers.len() / self.count;
        out.clear();
        batch.iter().for_each(|&e| out.extend_from_slice(&numbers[e * each..(e + 1) * each]));
    }

    /// One step on a batch, and the loss before it: the mean over the examples of the batch.
    ///
    /// # Errors
    /// As for [`Examples::supply`] and [`Trainer::step`], or if a target does not fit the loss.
    pub fn step<T: Float>(
        &self,
        trainer: &mut Trainer<T>,
        batch: &[usize],
        loss: Loss<'_>,
        eta: f64,
    ) -> Result<f64, FiniteError> {
        self.place(trainer, batch)?;
        trainer.batch.1.iter().try_for_each(|&y| loss.check_target(y))?;
        let weight = 1.0 / batch.len() as f64;
        let total = trainer.step_with(eta, &mut |trainer, outputs, cotangents| {
            let total = loss_of(trainer.network(), loss, (&outputs[0], &trainer.batch.1), &mut cotangents[0]);
            cotangents[0].iter_mut().for_each(|c| *c *= weight);
            Ok(total)
        })?;
        Ok(total * weight)
    }

    /// The outputs on all examples, `batch` at a time, and the mean loss.
    ///
    /// # Errors
    /// As for [`Examples::supply`].
    pub fn evaluate<T: Float>(
        &self,
        trainer: &mut Trainer<T>,
        batch: usize,
        loss: Loss<'_>,
    ) -> Result<(Vec<f64>, f64), FiniteError> {
        let (mut outputs, mut total) = (Vec::new(), 0.0);
        let all: Vec<usize> = (0..self.count).collect();
        for batch in all.chunks(batch.max(1)) {
            let targets = self.supply(trainer, batch)?;
            let f = trainer.outputs()?.swap_remove(0);
            total += loss_of(trainer.network(), loss, (&f, &targets), &mut vec![0.0; f.len()]);
            outputs.extend(f);
        }
        Ok((outputs, total / self.count as f64))
    }
}

/// Numbers of a value that belong to one position of its first axis.
fn per_example(network: &Network, value: ValueId) -> usize {
    let program = &network.program;
    let rest: usize = program.family_sizes(value).iter().skip(1).product();
    rest * components(network, value)
}

/// Numbers of a member of a value of constant size.
pub(crate) fn components(network: &Network, value: ValueId) -> usize {
    match network.program.value(value).ty.kind {
        netsor_ir::Kind::Vector(dim) => network.program.dim_size(dim, 1),
        _ => 1,
    }
}

/// The sum of the losses of the members of the only output, and the derivative.
fn loss_of(network: &Network, loss: Loss<'_>, (f, y): (&[f64], &[f64]), cotangent: &mut [f64]) -> f64 {
    let k = network.outputs.first().map_or(1, |&output| components(network, output)).max(1);
    let members = f.chunks(k).zip(y.chunks(k)).zip(cotangent.chunks_mut(k));
    members.map(|((f, y), g)| loss.eval(f, y, g)).sum()
}

/// Which examples a step uses when all are used once an epoch: a function of the step, so that a run that is resumed
/// goes on with the same batches. The last batch of an epoch has what is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs {
    /// Number of examples.
    pub examples: usize,
    /// Examples in a batch.
    pub batch: usize,
    /// Seed of the order, a new one each epoch; `None` for the order of the data.
    pub seed: Option<u64>,
}

impl Epochs {
    /// Steps in an epoch.
    pub fn steps(&self) -> usize {
        self.examples.div_ceil(self.batch.max(1))
    }

    /// The batch of a step, counted from 0.
    pub fn batch(&self, step: usize) -> Vec<usize> {
        let (epoch, at) = (step / self.steps().max(1), step % self.steps().max(1));
        let mut order: Vec<usize> = (0..self.examples).collect();
        if let Some(seed) = self.seed {
            let mut rng = Streams::new(seed).stream("order of examples", epoch as u64);
            for last in (1..order.len()).rev() {
                let other = (uniform(&mut rng) * (last + 1) as f64) as usize;
                order.swap(last, other.min(last));
            }
        }
        order.into_iter().skip(at * self.batch.max(1)).take(self.batch.max(1)).collect()
    }
}
