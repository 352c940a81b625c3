//! Coordinate checks: how large every vector of a network is, and how far training moves it.

use netsor_ir::network::Network;
use netsor_ir::program::{Dim, Instr, Kind, ValueId};

use crate::{FiniteError, Float, Trainer, Training};

/// The size of one value, as root mean squares over coordinates and members.
#[derive(Clone, Debug, PartialEq)]
pub struct CoordinateSize {
    /// The value.
    pub value: ValueId,
    /// Its size at the start.
    pub size: f64,
    /// The size of its change `x_t - x_0` after 1, 2, ... steps.
    pub changes: Vec<f64>,
}

/// What a coordinate check looks at: every computed vector of a width, and the outputs.
pub fn watched(network: &Network) -> Vec<ValueId> {
    let program = &network.program;
    let watched = |id: &ValueId| {
        let value = program.value(*id);
        let computed = matches!(value.instr, Instr::MatMul { .. } | Instr::Map(_));
        network.outputs.contains(id) || (computed && matches!(value.ty.kind, Kind::Vector(Dim::Width(_))))
    };
    program.value_ids().filter(watched).collect()
}

/// Trains as `training` says and measures the values `watched`; on the examples that the trainer has.
///
/// # Errors
/// If the training does not fit the network, or diverges.
pub fn coordinate_sizes<T: Float>(
    trainer: &mut Trainer<T>,
    training: &Training<'_>,
    watched: &[ValueId],
) -> Result<Vec<CoordinateSize>, FiniteError> {
    training.check(trainer)?;
    let size = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len().max(1) as f64).sqrt();
    let mut start: Vec<Vec<f64>> = Vec::new();
    let mut sizes: Vec<CoordinateSize> = Vec::new();
    for step in 0..=training.steps {
        let state = trainer.values(watched)?;
        let now: Vec<Vec<f64>> = watched.iter().map(|&v| state.numbers(v)).collect();
        if step == 0 {
            let new = |(&value, x): (&ValueId, &Vec<f64>)| CoordinateSize { value, size: size(x), changes: Vec::new() };
            sizes = watched.iter().zip(&now).map(new).collect();
            start = now;
        } else {
            for ((of, now), start) in sizes.iter_mut().zip(&now).zip(&start) {
                let change: Vec<f64> = now.iter().zip(start).map(|(a, b)| a - b).collect();
                of.changes.push(size(&change));
            }
        }
        if step < training.steps {
            training.step(trainer)?;
        }
    }
    Ok(sizes)
}
