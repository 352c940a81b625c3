//! What the commands that train have in common: parametrization, optimiser, loss.

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use netsor_data::Dataset;
use netsor_finite::{Decay, ExpressionLoss, Loss, Optimizer, Rule};
use netsor_ir::Network;
use netsor_ir::transform::{Parametrization, parametrize};
use netsor_ir::verify::{Verified, verify_network};

/// How a network is trained.
#[derive(Args)]
pub(crate) struct RuleArgs {
    /// Powers of the width: sp, ntp, mfp, mup or mup-adam; those of the network by default
    #[arg(long, value_name = "NAME", value_parser = parametrization)]
    parametrization: Option<(String, Parametrization)>,
    /// A parameter that is not trained; may be given several times
    #[arg(long, value_name = "NAME")]
    freeze: Vec<String>,
    /// The optimiser
    #[arg(long, default_value = "sgd")]
    optimizer: OptimizerName,
    /// Momentum of sgd
    #[arg(long, value_name = "MU", default_value_t = 0.0)]
    momentum: f64,
    /// Weight decay; with Adam it is decoupled from the gradient
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.0)]
    weight_decay: f64,
    /// The constant that Adam adds to the root of its second moment
    #[arg(long, value_name = "EPSILON", default_value_t = 1e-8)]
    epsilon: f64,
    /// Learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    pub(crate) learning_rate: f64,
    /// squared, logistic, cross-entropy, or an expression in f and y such as '(f - y)^4'
    #[arg(long, default_value = "squared")]
    loss: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    /// Gradient descent, with or without momentum
    Sgd,
    /// Adam
    Adam,
}

/// The floating-point numbers of a network.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Precision {
    /// 32 bits
    F32,
    /// 64 bits
    F64,
}

fn parametrization(name: &str) -> Result<(String, Parametrization), String> {
    let found = Parametrization::from_name(name);
    let found = found.ok_or_else(|| "expected sp, ntp, mfp, mup or mup-adam".to_owned())?;
    Ok((name.to_owned(), found))
}

/// A loss that owns its expression.
pub(crate) enum OwnLoss {
    Squared,
    Logistic,
    CrossEntropy,
    Expression(ExpressionLoss),
}

impl OwnLoss {
    pub(crate) fn loss(&self) -> Loss<'_> {
        match self {
            Self::Squared => Loss::Squared,
            Self::Logistic => Loss::Logistic,
            Self::CrossEntropy => Loss::CrossEntropy,
            Self::Expression(expression) => Loss::Expression(expression),
        }
    }

    /// Targets in the form that the loss wants: probabilities for the cross-entropy, signs for the logistic loss.
    pub(crate) fn targets(&self, dataset: &Dataset) -> anyhow::Result<Vec<f64>> {
        let k = dataset.n_outputs();
        let of_class = |own: f64, other: f64| -> anyhow::Result<Vec<f64>> {
            let labels = dataset.labels().ok_or_else(|| anyhow!("this loss needs classes, not numbers"))?;
            let class = |c: usize| (0..k).map(move |j| if j == c { own } else { other });
            Ok(labels.classes().iter().flat_map(|&c| class(c)).collect())
        };
        match self {
            Self::Squared | Self::Expression(_) => Ok(dataset.targets().as_slice().to_vec()),
            Self::Logistic => of_class(1.0, -1.0),
            Self::CrossEntropy => of_class(1.0, 0.0),
        }
    }
}

impl RuleArgs {
    /// The network with the parametrization and the frozen parameters that were asked for.
    pub(crate) fn network(&self, network: &Network) -> anyhow::Result<Verified<Network>> {
        let mut network = match &self.parametrization {
            Some((_, parametrization)) => parametrize(network, parametrization)?,
            None => network.clone(),
        };
        for name in &self.freeze {
            let value = network.program.find(name);
            let parameter = network.parameters.iter_mut().find(|p| Some(p.value) == value);
            match parameter {
                Some(parameter) => parameter.trained = false,
                None => bail!("--freeze {name}: `{}` has no parameter of this name", network.program.name),
            }
        }
        Ok(verify_network(network)?)
    }

    /// # Errors
    /// If an option is given that the optimiser does not have.
    pub(crate) fn optimizer(&self) -> anyhow::Result<Optimizer> {
        let lambda = self.weight_decay;
        Ok(match self.optimizer {
            OptimizerName::Adam if self.momentum != 0.0 => {
                bail!(
                    "--momentum {}: adam has moments of its own; leave it out, or take --optimizer sgd",
                    self.momentum
                )
            }
            OptimizerName::Sgd => {
                let decay = if lambda == 0.0 { Decay::None } else { Decay::Coupled(lambda) };
                Optimizer { rule: Rule::Sgd { momentum: self.momentum }, decay }
            }
            OptimizerName::Adam => {
                let decay = if lambda == 0.0 { Decay::None } else { Decay::Decoupled(lambda) };
                Optimizer { rule: Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: self.epsilon }, decay }
            }
        })
    }

    /// The loss for outputs of this many components.
    pub(crate) fn loss(&self, components: usize) -> anyhow::Result<OwnLoss> {
        Ok(match self.loss.as_str() {
            "squared" => OwnLoss::Squared,
            "logistic" => OwnLoss::Logistic,
            "cross-entropy" => OwnLoss::CrossEntropy,
            text => OwnLoss::Expression(ExpressionLoss::parse(text, components)?),
        })
    }

    /// The options in words, which two parts of one run have in common.
    pub(crate) fn describe(&self) -> String {
        let parametrization = self.parametrization.as_ref().map_or("own", |(name, _)| name);
        let Self { learning_rate, loss, freeze, .. } = self;
        format!("parametrization {parametrization}, rate {learning_rate}, loss {loss}, frozen {freeze:?}")
    }
}
